"""Errors of images that callers tell apart. The first two carry the CRI's own words, which a kubelet looks for."""

from __future__ import annotations

from crio.base.errors import DataLoss, InvalidArgument, PermissionDenied, Unavailable


class RegistryUnavailable(Unavailable):
    """No registry gave an answer that one can go on with: connection, TLS, time-out, rate limit, server error."""

    def __init__(self, message: str) -> None:
        super().__init__(_prefixed("RegistryUnavailable", message))


class SignatureValidationFailed(PermissionDenied):
    """The trust policy does not accept the image."""

    def __init__(self, message: str) -> None:
        super().__init__(_prefixed("SignatureValidationFailed", message))


class BadImage(InvalidArgument):
    """A manifest, index, configuration or layer that is not what the specification says."""


class BadContent(DataLoss):
    """Received content has another digest or size than was promised."""

    temporary = True


class CredentialsRefused(PermissionDenied):
    """The registry wants (other) credentials."""


def _prefixed(word: str, message: str) -> str:
    return message if message.startswith(word + ":") else f"{word}: {message}"
