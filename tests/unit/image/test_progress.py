from __future__ import annotations

from crio.image.progress import LayerState, Progress, Stage


def test_changes_are_told_once() -> None:
    progress = Progress()
    assert progress.take_changes() == ([], "resolve")
    assert progress.take_changes() == ([], "")
    progress.enter(Stage.FETCH)
    progress.layer("a", 100, LayerState.WAITING)
    progress.layer("b", 0, LayerState.FETCHING)
    progress.received("b", 7)
    layers, stage = progress.take_changes()
    assert stage == "fetch"
    assert [(layer.digest, layer.size, layer.done, layer.state) for layer in layers] == [
        ("a", 100, 0, "waiting"),
        ("b", 0, 7, "fetching"),
    ]
    progress.layer("b", 9, LayerState.DONE)
    ((layer,), stage) = progress.take_changes()
    assert (layer.done, layer.size, layer.state, stage) == (9, 9, "done", "")


def test_what_was_told_does_not_change() -> None:
    progress = Progress()
    progress.layer("a", 100, LayerState.FETCHING)
    (told,), _ = progress.take_changes()
    progress.received("a", 50)
    assert told.done == 0
