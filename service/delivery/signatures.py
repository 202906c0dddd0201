"""Signatures of webhooks as Standard Webhooks asks for, so that a receiver knows who speaks."""

import base64
import binascii
import hashlib
import hmac

from service.errors import ConfigurationError

_LEAST_BYTES = 24  # of a key, as Standard Webhooks has it


class Signer:
    """Signs bodies as Standard Webhooks asks for.

    Args:
        secrets: `whsec_` and base64; several, separated by blanks, while receivers change over.

    Raises:
        ConfigurationError: A secret is not base64.
    """

    def __init__(self, secrets: str) -> None:
        self._keys = [self._read(secret) for secret in secrets.split()]
        if not self._keys:
            raise ConfigurationError("webhooks.secret: must not be empty")

    @staticmethod
    def _read(secret: str) -> bytes:
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError) as error:
            raise ConfigurationError(
                "webhooks.secret: must be whsec_ followed by base64 of 24 to 64 random bytes"
            ) from error

    @property
    def is_weak(self) -> bool:
        """Whether a key is shorter than the standard asks for."""
        return any(len(key) < _LEAST_BYTES for key in self._keys)

    def sign(self, message_id: str, timestamp: int, body: bytes) -> str:
        """Return the value of `webhook-signature`: one signature per key."""
        content = f"{message_id}.{timestamp}.".encode() + body
        digests = (hmac.digest(key, content, hashlib.sha256) for key in self._keys)
        return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)
