"""What is counted of pulls, for the daemon's metrics: layers, bytes and outcomes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from crio.base.errors import CrioError, DeadlineExceeded, NotFound
from crio.image.errors import CredentialsRefused, RegistryUnavailable, SignatureValidationFailed
from crio.image.progress import LayerProgress, LayerState


class PullObserver(Protocol):
    """Counts what happened in pulls."""

    def layer_pulled(self, media_type: str, size: int) -> None: ...

    def layer_reused(self, name: str, size: int = 0) -> None: ...

    def bytes_skipped(self, size: int) -> None: ...

    def pull_succeeded(self) -> None: ...

    def pull_failed(self, error: str) -> None: ...


def count_pull(observer: PullObserver, image: str, layers: Iterable[LayerProgress], error: CrioError | None) -> None:
    """Tell `observer` of a pull that has ended, with the last that was known of its layers."""
    for layer in layers:
        if layer.state is LayerState.DONE:
            observer.layer_pulled(layer.media_type, layer.size - layer.skipped)
            if layer.skipped:
                observer.bytes_skipped(layer.skipped)
        elif layer.state is LayerState.EXISTS:
            observer.layer_reused(f"{image}@{layer.digest}", layer.size)
    if error is None:
        observer.pull_succeeded()
    else:
        observer.pull_failed(error_class(error))


def error_class(error: CrioError) -> str:
    """One of a few words for the metric's label; those of registries have the registry API's names."""
    if isinstance(error, NotFound):
        return "MANIFEST_UNKNOWN"
    if isinstance(error, CredentialsRefused):
        return "UNAUTHORIZED"
    if isinstance(error, SignatureValidationFailed):
        return "DENIED"
    if isinstance(error, RegistryUnavailable):
        text = error.message.lower()
        if "refused" in text:
            return "CONNECTION_REFUSED"
        return "CONNECTION_TIMEOUT" if "timed out" in text or "no answer" in text else "UNAVAILABLE"
    if isinstance(error, DeadlineExceeded):
        return "CONNECTION_TIMEOUT"
    return "UNKNOWN"
