"""Ed25519 keys and signatures (RFC 8032), as `cryptography` makes and checks them."""

import hashlib
from dataclasses import replace
from typing import Final

from cryptography.exceptions import (
    InternalError,
    InvalidSignature,
    UnsupportedAlgorithm,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from leasehold.adapters.checkpoints import Checkpoint
from leasehold.domain.errors import InvalidInputError

_PRIVATE: Final = b"PRIVATE KEY-----"
_PUBLIC: Final = b"PUBLIC KEY-----"
_ENCRYPTED: Final = (b"ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")
_MAKE: Final = "`openssl genpkey -algorithm ed25519` makes one"
_HALVE: Final = "`openssl pkey -in KEY -pubout` gives the public half of a key"
# The first is what OpenSSL's own complaint becomes, as for a key that is too short.
_UNREADABLE: Final = (InternalError, ValueError, TypeError, UnsupportedAlgorithm)


def private_key(pem: bytes, shown: str) -> Ed25519PrivateKey:
    """Read a key to sign with.

    Args:
        pem: Its file.
        shown: What it is called before people.

    Raises:
        InvalidInputError: It is none, encrypted, or of another kind. The message tells
            nothing of the key.
    """
    if any(mark in pem for mark in _ENCRYPTED):
        message = (
            f"{shown} is encrypted, and nobody is asked for its passphrase: give one "
            f"that is not; {_MAKE}"
        )
        raise InvalidInputError(message)
    if _PRIVATE not in pem and _PUBLIC in pem:
        message = f"{shown} is a public key, and a private one signs; {_MAKE}"
        raise InvalidInputError(message)
    try:
        key = load_pem_private_key(pem, password=None)
    except _UNREADABLE:
        message = f"{shown} cannot be read as a private key in PEM; {_MAKE}"
        raise InvalidInputError(message) from None
    if not isinstance(key, Ed25519PrivateKey):
        message = f"{shown} is of another kind than Ed25519; {_MAKE}"
        raise InvalidInputError(message)
    return key


def public_key(pem: bytes, shown: str) -> Ed25519PublicKey:
    """Read a key to check signatures by.

    Args:
        pem: Its file.
        shown: What it is called before people.

    Raises:
        InvalidInputError: It is none, or of another kind.
    """
    if _PRIVATE in pem:
        message = f"{shown} is a private key, for the signer alone; {_HALVE}"
        raise InvalidInputError(message)
    try:
        key = load_pem_public_key(pem)
    except _UNREADABLE:
        message = f"{shown} cannot be read as a public key in PEM; {_HALVE}"
        raise InvalidInputError(message) from None
    if not isinstance(key, Ed25519PublicKey):
        message = f"{shown} is of another kind than Ed25519; {_MAKE}"
        raise InvalidInputError(message)
    return key


def signed(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> Checkpoint:
    """Return a checkpoint with the signature of a key."""
    named = replace(checkpoint, key=_fingerprint(key.public_key()), signature=None)
    return replace(named, signature=key.sign(named.signed_bytes).hex())


def fault_of_signature(checkpoint: Checkpoint, key: Ed25519PublicKey) -> str | None:
    """Say what is wrong with the signature of a checkpoint; None where nothing is."""
    if checkpoint.signature is None:
        return "is not signed, and a key to check signatures by was given"
    if checkpoint.key != _fingerprint(key):
        return (
            f"names the key {checkpoint.key}, and not the one that was given, "
            f"{_fingerprint(key)}"
        )
    try:
        key.verify(bytes.fromhex(checkpoint.signature), checkpoint.signed_bytes)
    except InvalidSignature:
        return (
            "has a wrong signature: the line was changed, or was not made by the owner "
            "of the key"
        )
    return None


def _fingerprint(key: Ed25519PublicKey) -> str:
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()
