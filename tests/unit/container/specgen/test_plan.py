from __future__ import annotations

from crio.container.specgen.plan import (
    CopyTree,
    MakeDirectory,
    MakeHostDirectory,
    MakeLink,
    Notes,
    Relabel,
    RemoveFile,
    WriteFile,
)


def test_notes_plan_files_and_their_labels() -> None:
    notes = Notes("/run/c", "label")
    assert notes.write("a/b", b"x", 0o600, 1, 2) == "/run/c/a/b"
    assert notes.make_directory("d", 3, 4) == "/run/c/d"
    assert notes.effects == [WriteFile("/run/c/a/b", b"x", 0o600, 1, 2), MakeHostDirectory("/run/c/d", 0o755, 3, 4)]
    assert notes.relabels == [Relabel("/run/c/a/b", "label"), Relabel("/run/c/d", "label")]


def test_no_label_no_relabelling() -> None:
    notes = Notes("/run/c")
    notes.write("a", b"")
    notes.label("/x")
    assert notes.relabels == []


def test_effects_describe_themselves() -> None:
    effects = (
        MakeDirectory("/a"),
        MakeLink("/a", "/b"),
        RemoveFile("/a"),
        WriteFile("/a", b"12"),
        MakeHostDirectory("/a"),
        CopyTree("/a", "/b"),
    )
    assert [effect.describe() for effect in effects] == [
        "make directory /a in the root",
        "link /a to /b in the root",
        "remove /a from the root",
        "write 2 bytes to /a",
        "make directory /a on the host",
        "copy /a to /b",
    ]
