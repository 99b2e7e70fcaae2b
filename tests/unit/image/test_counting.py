from __future__ import annotations

import pytest

from crio.base.errors import Cancelled, CrioError, DeadlineExceeded, NotFound
from crio.image.counting import count_pull, error_class
from crio.image.errors import CredentialsRefused, RegistryUnavailable, SignatureValidationFailed
from crio.image.progress import LayerProgress, LayerState


class Counted:
    """What a pull made the daemon count."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def layer_pulled(self, media_type: str, size: int) -> None:
        self.calls.append(("pulled", media_type, size))

    def layer_reused(self, name: str, size: int = 0) -> None:
        self.calls.append(("reused", name, size))

    def bytes_skipped(self, size: int) -> None:
        self.calls.append(("skipped", size))

    def pull_succeeded(self) -> None:
        self.calls.append(("succeeded",))

    def pull_failed(self, error: str) -> None:
        self.calls.append(("failed", error))


def test_layers_count_by_what_became_of_them() -> None:
    counted = Counted()
    layers = [
        LayerProgress("sha256:a", 10, 10, LayerState.DONE, "gzip"),
        LayerProgress("sha256:b", 20, 20, LayerState.EXISTS),
        LayerProgress("sha256:c", 30, 5, LayerState.FETCHING),
    ]
    count_pull(counted, "reg/x:1", layers, None)
    assert counted.calls == [("pulled", "gzip", 10), ("reused", "reg/x:1@sha256:b", 20), ("succeeded",)]


def test_a_failed_pull_counts_by_its_class() -> None:
    counted = Counted()
    count_pull(counted, "x", [], NotFound("cannot find it"))
    assert counted.calls == [("failed", "MANIFEST_UNKNOWN")]


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (CredentialsRefused("no"), "UNAUTHORIZED"),
        (SignatureValidationFailed("no"), "DENIED"),
        (RegistryUnavailable("cannot connect: Connection refused"), "CONNECTION_REFUSED"),
        (RegistryUnavailable("the request timed out"), "CONNECTION_TIMEOUT"),
        (RegistryUnavailable("502"), "UNAVAILABLE"),
        (DeadlineExceeded("no progress"), "CONNECTION_TIMEOUT"),
        (Cancelled("stop"), "UNKNOWN"),
    ],
)
def test_classes_of_errors(error: CrioError, name: str) -> None:
    assert error_class(error) == name
