from __future__ import annotations

from crio.container.specgen.plan import MakeHostDirectory, Notes, Relabel, WriteFile


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
