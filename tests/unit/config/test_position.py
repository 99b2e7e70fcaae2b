from __future__ import annotations

from crio.config.position import lines_of_keys

TEXT = """# comment with [crio]
top = 1
[crio] # here
root = "/x" # = [
list = [
  "a = 1", # [b]
  "[c]",
]
text = '''
[not.a.table]
k = 1
'''
escaped = "quote \\" [ "
[crio.runtime.runtimes."my.name"]
a.b = 2
inline = { x = 1, y = "]" }
[[array]]
k = 3
"""


def test_lines() -> None:
    found = lines_of_keys(TEXT)
    assert found == {
        ("top",): 2,
        ("crio",): 3,
        ("crio", "root"): 4,
        ("crio", "list"): 5,
        ("crio", "text"): 9,
        ("crio", "escaped"): 13,
        ("crio", "runtime", "runtimes", "my.name"): 14,
        ("crio", "runtime", "runtimes", "my.name", "a"): 15,
        ("crio", "runtime", "runtimes", "my.name", "a", "b"): 15,
        ("crio", "runtime", "runtimes", "my.name", "inline"): 16,
        ("array",): 17,
        ("array", "k"): 18,
    }
