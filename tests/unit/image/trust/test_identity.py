"""For which names a signature is good."""

from __future__ import annotations

import pytest

from crio.image.trust import strict_json
from crio.image.trust.identity import Identity, matches
from crio.wire import reference

DIGEST = "sha256:" + "a" * 64


def form(text: str) -> Identity:
    kind, *values = text.split()
    keys = {"exactReference": ["dockerReference"], "exactRepository": ["dockerRepository"],
            "remapIdentity": ["prefix", "signedPrefix"]}.get(kind, [])  # fmt: skip
    fields = ",".join(f'"{key}":"{value}"' for key, value in zip(keys, values, strict=True))
    return strict_json.decode(f'{{"type":"{kind}"{"," if fields else ""}{fields}}}'.encode(), Identity)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("identity", "asked", "signed", "expected"),
    [
        ("matchExact", "a.b/c:1", "a.b/c:1", True),
        ("matchExact", "busybox:1", "docker.io/library/busybox:1", True),
        ("matchExact", "a.b/c:1", "a.b/c:2", False),
        ("matchExact", "a.b/c:1", "a.b/c", False),
        ("matchExact", f"a.b/c@{DIGEST}", "a.b/c:1", False),
        ("matchExact", f"a.b/c@{DIGEST}", f"a.b/c@{DIGEST}", True),
        ("matchRepoDigestOrExact", "a.b/c:1", "a.b/c:1", True),
        ("matchRepoDigestOrExact", "a.b/c:1", "a.b/c:2", False),
        ("matchRepoDigestOrExact", f"a.b/c@{DIGEST}", "a.b/c:7", True),
        ("matchRepoDigestOrExact", f"a.b/c@{DIGEST}", "a.b/c", False),
        ("matchRepoDigestOrExact", f"a.b/c@{DIGEST}", "a.b/d:7", False),
        ("matchRepository", "a.b/c:1", "a.b/c", True),
        ("matchRepository", "a.b/c:1", "a.b/cc:1", False),
        ("exactReference a.b/c:1", "other/x:9", "a.b/c:1", True),
        ("exactReference a.b/c:1", "a.b/c:2", "a.b/c:2", False),
        ("exactRepository a.b/c", "other/x:9", "a.b/c:5", True),
        ("exactRepository a.b/c", "a.b/d:1", "a.b/d:1", False),
        ("remapIdentity mirror:5000/v vendor.example", "mirror:5000/v/p/i:1", "vendor.example/p/i:1", True),
        ("remapIdentity mirror:5000/v vendor.example", f"mirror:5000/v/i@{DIGEST}", "vendor.example/i:3", True),
        ("remapIdentity mirror:5000/v vendor.example", "mirror:5000/v/p/i:1", "mirror:5000/v/p/i:1", False),
        ("remapIdentity mirror:5000/v vendor.example", "mirror:5000/vv/i:1", "mirror:5000/vv/i:1", True),
        ("remapIdentity mirror:5000/v/i vendor.example/j", "mirror:5000/v/i:1", "vendor.example/j:1", True),
        ("remapIdentity mirror:5000 short", "mirror:5000/i:1", "short/i:1", False),
        ("matchRepository", "a.b/c:1", "Not A Name", False),
    ],
)
def test_forms(identity: str, asked: str, signed: str, expected: bool) -> None:
    assert matches(form(identity), reference.parse(asked), signed) is expected


def test_without_a_name_only_the_exact_forms_match() -> None:
    assert matches(form("exactRepository a.b/c"), None, "a.b/c:1")
    assert matches(form("exactReference a.b/c:1"), None, "a.b/c:1")
    for identity in ("matchExact", "matchRepoDigestOrExact", "matchRepository", "remapIdentity a.b c.d"):
        assert not matches(form(identity), None, "a.b/c:1")
