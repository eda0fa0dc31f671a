"""Signing checkpoints, and checking their signatures: what needs the extra `sign`.

`cryptography` is imported when a key is used, and not before.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from leasehold.adapters.checkpoints import Checkpoint
from leasehold.domain.errors import InvalidInputError, StoreError

Key = bytes | str | os.PathLike[str]
"""A key in PEM as bytes, or the path of a file that it is in."""

KEY_BYTES_MAX: Final = 64 * 1024


def signer(signing_key: Key) -> Callable[[Checkpoint], Checkpoint]:
    """Return what signs checkpoints with a key.

    Raises:
        InvalidInputError: There is no such key in what is given.
        StoreError: The extra is missing.
    """
    _check_extra()
    from leasehold.adapters import ed25519  # noqa: PLC0415

    pem, shown = _read(signing_key, "the signing key")
    key = ed25519.private_key(pem, shown)
    return lambda checkpoint: ed25519.signed(checkpoint, key)


def check_signatures(checkpoints: Sequence[Checkpoint], public_key: Key) -> None:
    """Make sure that each of some checkpoints was signed by a key.

    Raises:
        InvalidInputError: One was not, or there is no such key in what is given.
        StoreError: The extra is missing.
    """
    _check_extra()
    from leasehold.adapters import ed25519  # noqa: PLC0415

    pem, shown = _read(public_key, "the public key")
    key = ed25519.public_key(pem, shown)
    for number, checkpoint in enumerate(checkpoints, start=1):
        fault = ed25519.fault_of_signature(checkpoint, key)
        if fault is not None:
            of = f" {number} of {len(checkpoints)}" if len(checkpoints) > 1 else ""
            message = f"checkpoint{of} ({checkpoint.shown}) {fault}"
            raise InvalidInputError(message)


def _check_extra() -> None:
    try:
        import leasehold.adapters.ed25519  # noqa: F401, PLC0415
    except ImportError as error:
        message = (
            f"signatures need the extra `sign` ({error}): pip install 'leasehold[sign]'"
        )
        raise StoreError(message) from error


def _read(given: Key, name: str) -> tuple[bytes, str]:
    """Return what is to be a key in PEM, and what it is called before people."""
    if isinstance(given, bytes):
        return given, name
    if not isinstance(given, str | os.PathLike):
        message = (
            f"{name} is given as PEM in bytes, or as the path of its file; got "
            f"{type(given).__name__}"
        )
        raise InvalidInputError(message)
    if isinstance(given, str) and "-----BEGIN" in given:
        # No path, and not to be shown as one.
        message = f"{name} in PEM is given as bytes (encode it), a path as text"
        raise InvalidInputError(message)
    shown = f"{name} in {os.fspath(given)}"
    try:
        with Path(given).open("rb") as file:
            return file.read(KEY_BYTES_MAX), shown
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        message = f"{shown} cannot be read: {why}"
        raise InvalidInputError(message) from error
