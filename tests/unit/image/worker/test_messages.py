from __future__ import annotations

import pytest

from crio.base.errors import CrioError, InvalidArgument, NotFound
from crio.base.process import Completed, ProcessFailed
from crio.image.credentials import Credentials
from crio.image.errors import BadImage, RegistryUnavailable, SignatureValidationFailed
from crio.image.progress import LayerProgress, LayerState
from crio.image.registry.http import TransportFailed
from crio.image.worker.messages import (
    Cancel,
    Finished,
    Load,
    Pull,
    Settings,
    StoredImage,
    Update,
    decode_reply,
    decode_request,
    encode,
    error_of,
    failure,
)


def test_messages_survive() -> None:
    requests = (
        Pull(1, "a", Settings(global_auth_file="/x"), Credentials("u", "p"), "ns"),
        Load(2, "/x", Settings(), "oci", ("a", "b")),
        Cancel(3, "why"),
    )
    for request in requests:
        assert decode_request(encode(request)) == request
    for reply in (
        Update(1, [LayerProgress("a", 5, 3, LayerState.FETCHING)], "fetch"),
        Finished(1, (StoredImage("x", ("a",), "d"),)),
        failure(1, NotFound("gone")),
    ):
        assert decode_reply(encode(reply)) == reply


def test_too_long() -> None:
    with pytest.raises(InvalidArgument, match="longer than"):
        encode(Pull(1, "a" * 200_000, Settings()))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NotFound("gone"), NotFound),
        (BadImage("bad"), BadImage),
        (RegistryUnavailable("down"), RegistryUnavailable),
        (SignatureValidationFailed("no"), SignatureValidationFailed),
        (TransportFailed("cut"), RegistryUnavailable),
        (ProcessFailed(Completed(["x"], 1, b"", b"oops")), CrioError),
    ],
)
def test_errors_keep_their_kind(error: CrioError, kind: type[CrioError]) -> None:
    again = error_of(failure(1, error))
    assert type(again) is kind
    assert again.message == error.message
