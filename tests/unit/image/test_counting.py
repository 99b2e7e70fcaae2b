from __future__ import annotations

import pytest

from crio.base.errors import CrioError, DeadlineExceeded, Internal, NotFound
from crio.image.counting import count_pull, error_class
from crio.image.errors import CredentialsRefused, RegistryUnavailable, SignatureValidationFailed
from crio.image.progress import LayerProgress, LayerState
from crio.telemetry.metrics import PREFIX, Metrics

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


def test_layers_and_outcomes_are_counted() -> None:
    metrics = Metrics(["image_pulls_bytes_total", "image_pulls_skipped_bytes_total", "image_layer_reuse_total",
                       "image_pulls_success_total", "image_pulls_failure_total", "image_pulls_layer_size"])  # fmt: skip
    layers = [
        LayerProgress("a", 5000, 5000, LayerState.DONE, GZIP),
        LayerProgress("b", 9000, 9000, LayerState.DONE, GZIP, skipped=7000),
        LayerProgress("c", 100, 100, LayerState.EXISTS),
        LayerProgress("d", 800, 300, LayerState.FETCHING),
    ]
    count_pull(metrics, "example.com/a", layers, None)
    count_pull(metrics, "example.com/a", [], NotFound("x"))
    lines = set(metrics.text().splitlines())
    for line in (
        f'image_pulls_bytes_total{{mediatype="{GZIP}",size=">1 KiB"}} 7000',
        'image_pulls_skipped_bytes_total{size=">1 KiB"} 7000',
        'image_pulls_skipped_bytes_total{size=">0 B"} 100',
        'image_layer_reuse_total{name="example.com/a@c"} 1',
        "image_pulls_success_total 1",
        'image_pulls_failure_total{error="MANIFEST_UNKNOWN"} 1',
        "image_pulls_layer_size_count 2",
        "image_pulls_layer_size_sum 7000",
    ):
        assert PREFIX + line in lines


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (NotFound("x"), "MANIFEST_UNKNOWN"),
        (CredentialsRefused("x"), "UNAUTHORIZED"),
        (SignatureValidationFailed("x"), "DENIED"),
        (RegistryUnavailable("cannot talk to x: connection refused"), "CONNECTION_REFUSED"),
        (RegistryUnavailable("cannot talk to x: no answer in time"), "CONNECTION_TIMEOUT"),
        (RegistryUnavailable("the registry answers 503"), "UNAVAILABLE"),
        (DeadlineExceeded("x"), "CONNECTION_TIMEOUT"),
        (Internal("x"), "UNKNOWN"),
    ],
)
def test_errors_are_few_words(error: CrioError, word: str) -> None:
    assert error_class(error) == word
