from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from crio.cli.crioctl import catalog, completion


def complete(tmp_path: Path, *words: str, fake_crioctl: str = "true") -> set[str]:
    """What bash offers for the last of `words`."""
    script = tmp_path / "completion.bash"
    script.write_text(completion.script("bash"))
    line = " ".join(f"'{word}'" for word in words)
    program = f"""
        crioctl() {{ {fake_crioctl}; }}
        complete() {{ :; }}
        source {script}
        COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}
        _crioctl
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    completed = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert completed.stderr == ""
    return set(completed.stdout.split())


def test_verbs(tmp_path: Path) -> None:
    assert complete(tmp_path, "crioctl", "inspect") == {"inspect", "inspectp", "inspecti"}
    assert complete(tmp_path, "crioctl", "--runtime-endpoint", "unix:///x", "-D", "sto") == {"stop", "stopp"}


def test_options_of_a_verb(tmp_path: Path) -> None:
    assert complete(tmp_path, "crioctl", "ps", "--no") == {"--no-trunc"}
    assert complete(tmp_path, "crioctl", "--ru") == {"--runtime-endpoint"}


def test_choices(tmp_path: Path) -> None:
    assert complete(tmp_path, "crioctl", "ps", "--state", "e") == {"exited"}
    assert complete(tmp_path, "crioctl", "completion", "f") == {"fish"}


def test_names_are_asked_of_the_runtime(tmp_path: Path) -> None:
    fake = 'echo "$@" >>' + str(tmp_path / "asked") + "; echo web log abc123"
    assert complete(tmp_path, "crioctl", "stop", "w", fake_crioctl=fake) == {"web"}
    assert (tmp_path / "asked").read_text().startswith("ps -a -o ")


def test_the_questions_that_completion_asks(node: Any, crioctl: Any) -> None:
    assert crioctl("pods", "-o", "{.items[*].metadata.name} {.items[*].id}").out.split()[:2] == ["shop", "job"]
    assert crioctl("images", "-o", "{.images[*].repoTags[*]} {.images[*].id}").code == 0
    names = crioctl("ps", "-a", "-o", "{.containers[*].metadata.name} {.containers[*].id}").out.split()
    assert {"web", "log", "once"} < set(names)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_verb_and_option_is_in_every_script(shell: str) -> None:
    text = completion.script(shell)
    for verb in completion.verbs():
        assert all(name in text for name in verb.names)
        for option in verb.options:
            assert all(name.lstrip("-") in text for name in option.names)


@pytest.mark.parametrize("entry", catalog.entries(), ids=lambda entry: entry.name)
def test_every_verb_explains_its_options(entry: catalog.Entry) -> None:
    text = catalog.parser_for(entry, catalog.load(entry)).format_help()
    assert text.startswith(f"usage: crioctl {entry.name}")
    options = completion.options_of(catalog.parser_for(entry, catalog.load(entry)))
    assert all(option.help for option in options)
