"""Checkpoints with a signature: who made the line."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

import leasehold


def private_pem(key, encryption=None, form=PrivateFormat.PKCS8):
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())


def public_pem(key):
    form = PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(Encoding.PEM, form)


OURS = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ANOTHER = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
KEY, PUBLIC = private_pem(OURS), public_pem(OURS)
FORGED = {
    "position": lambda line: {**line, "position": line["position"] - 1},
    "time": lambda line: {**line, "at_ms": line["at_ms"] + 1},
    "digest": lambda line: {**line, "sha256": "0" * 64},
    "signature": lambda line: {**line, "signature": "0" * 128},
    "one bit": lambda line: {
        **line,
        "signature": f"{int(line['signature'], 16) ^ 1:0128x}",
    },
}


def test_a_signed_line_is_checked_by_the_public_key(told) -> None:
    line = told.checkpoint(signing_key=KEY)
    bare = json.loads(told.checkpoint())
    signed = json.loads(line)
    assert signed.keys() == bare.keys() | {"key", "signature"}
    assert {name: signed[name] for name in bare} == bare
    parsed = leasehold.Checkpoint.parse(line)
    assert str(parsed) == line
    report = told.verify(line, public_key=PUBLIC)
    assert (report.ok, report.checkpoints) == (True, 1)
    assert (report.signatures_checked, report.signatures_unchecked) == (1, 0)


def test_the_signature_is_over_the_line_without_it(told) -> None:
    line = told.checkpoint(signing_key=KEY)
    signed = json.loads(line)
    signature = bytes.fromhex(signed.pop("signature"))
    content = json.dumps(signed, sort_keys=True, separators=(",", ":")).encode()
    load_pem_public_key(PUBLIC).verify(signature, content)
    assert leasehold.Checkpoint.parse(line).signed_bytes == content
    der = OURS.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    assert signed["key"] == hashlib.sha256(der).hexdigest()


def test_without_a_key_the_report_says_that_the_signature_was_not_checked(told) -> None:
    lines = [told.checkpoint(), told.checkpoint(signing_key=KEY)]
    report = told.verify(lines)
    assert (report.ok, report.checkpoints) == (True, 2)
    assert (report.signatures_checked, report.signatures_unchecked) == (0, 1)
    report = told.verify()
    assert (report.checkpoints, report.signatures_unchecked) == (0, 0)


@pytest.mark.parametrize("case", FORGED)
def test_a_line_that_was_changed_is_refused(case, told) -> None:
    line = json.loads(told.checkpoint(signing_key=KEY))
    forged = json.dumps(FORGED[case](line))
    with pytest.raises(leasehold.InvalidInputError, match="wrong signature") as caught:
        told.verify(forged, public_key=PUBLIC)
    assert "checkpoint (of " in str(caught.value)


def test_a_line_of_another_signer_is_refused(told) -> None:
    theirs = told.checkpoint(signing_key=private_pem(ANOTHER))
    with pytest.raises(leasehold.InvalidInputError, match="names the key") as caught:
        told.verify(theirs, public_key=PUBLIC)
    ours = json.loads(told.checkpoint(signing_key=KEY))["key"]
    assert ours in str(caught.value)
    assert json.loads(theirs)["key"] in str(caught.value)
    renamed = json.dumps({**json.loads(theirs), "key": ours})
    with pytest.raises(leasehold.InvalidInputError, match="wrong signature"):
        told.verify(renamed, public_key=PUBLIC)


def test_with_a_key_every_line_must_be_signed(told) -> None:
    lines = [told.checkpoint(signing_key=KEY), told.checkpoint()]
    with pytest.raises(leasehold.InvalidInputError, match="not signed") as caught:
        told.verify(lines, public_key=PUBLIC)
    assert "checkpoint 2 of 2 (of 20" in str(caught.value)


def test_a_signature_of_what_the_log_no_longer_is_shows_it(told, fresh) -> None:
    line = told.checkpoint(signing_key=KEY)
    (fault,) = fresh().verify(line, public_key=PUBLIC).faults
    assert fault.kind is leasehold.FaultKind.CHECKPOINT


def test_a_key_without_a_checkpoint_is_refused(told) -> None:
    with pytest.raises(leasehold.InvalidInputError, match="give one"):
        told.verify(public_key=PUBLIC)


def test_keys_may_be_in_files(told, tmp_path) -> None:
    secret, public = tmp_path / "secret.pem", tmp_path / "public.pem"
    secret.write_bytes(KEY)
    public.write_bytes(PUBLIC)
    line = told.checkpoint(signing_key=secret)
    assert line == told.checkpoint(signing_key=str(secret))
    assert line == told.checkpoint(signing_key=KEY)
    for key in (public, str(public), PUBLIC):
        assert told.verify(line, public_key=key).ok


def rsa_key():
    return rsa.generate_private_key(65_537, 1_024)


WRONG_KEYS = {
    "encrypted": (
        lambda: private_pem(OURS, BestAvailableEncryption(b"word")),
        "is encrypted",
    ),
    "encrypted in the old way": (
        lambda: private_pem(
            ec.generate_private_key(ec.SECP256R1()),
            BestAvailableEncryption(b"word"),
            PrivateFormat.TraditionalOpenSSL,
        ),
        "is encrypted",
    ),
    "RSA": (lambda: private_pem(rsa_key()), "another kind than Ed25519"),
    "Ed448": (
        lambda: private_pem(ed448.Ed448PrivateKey.generate()),
        "another kind than Ed25519",
    ),
    "public": (lambda: PUBLIC, "is a public key"),
    "of ssh": (
        lambda: private_pem(OURS, form=PrivateFormat.OpenSSH),
        "cannot be read as a private key in PEM",
    ),
    "of a kind with longer keys": (
        # The name of X448 in the place of that of Ed25519.
        lambda: KEY.replace(b"K2Vw", b"K2Vv"),
        "cannot be read as a private key in PEM",
    ),
    "nothing": (lambda: b"", "cannot be read as a private key in PEM"),
    "torn": (lambda: KEY[:60], "cannot be read as a private key in PEM"),
    "bytes": (lambda: b"\xff\x00" * 500, "cannot be read as a private key in PEM"),
}
WRONG_PUBLIC_KEYS = {
    "private": (lambda: KEY, "is a private key"),
    "RSA": (lambda: public_pem(rsa_key()), "another kind than Ed25519"),
    "nothing": (lambda: b"", "cannot be read as a public key in PEM"),
    "torn": (lambda: PUBLIC[:40], "cannot be read as a public key in PEM"),
}


@pytest.fixture
def empty(fresh, clock):
    return fresh(clock=clock)


@pytest.mark.parametrize("case", WRONG_KEYS)
def test_what_does_not_sign_is_refused_and_not_shown(case, empty) -> None:
    make, why = WRONG_KEYS[case]
    given = make()
    with pytest.raises(leasehold.InvalidInputError, match=why) as caught:
        empty.checkpoint(signing_key=given)
    assert "openssl genpkey -algorithm ed25519" in str(caught.value)
    for line in filter(None, given.splitlines()[1:-1]):
        assert line.decode(errors="replace") not in str(caught.value)


@pytest.mark.parametrize("case", WRONG_PUBLIC_KEYS)
def test_what_checks_no_signature_is_refused(case, empty) -> None:
    make, why = WRONG_PUBLIC_KEYS[case]
    line = empty.checkpoint(signing_key=KEY)
    with pytest.raises(leasehold.InvalidInputError, match=why):
        empty.verify(line, public_key=make())


@pytest.mark.parametrize("given", [5, None, object()])
def test_a_key_is_bytes_or_a_path(given, empty) -> None:
    line = empty.checkpoint(signing_key=KEY)
    if given is not None:
        with pytest.raises(leasehold.InvalidInputError, match="path of its file"):
            empty.verify(line, public_key=given)
        with pytest.raises(leasehold.InvalidInputError, match="path of its file"):
            empty.checkpoint(signing_key=given)
    with pytest.raises(leasehold.InvalidInputError, match="as bytes") as caught:
        empty.checkpoint(signing_key=KEY.decode())
    assert "MC4C" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "why"),
    [("not-there", "No such file"), ("", "Is a directory"), ("a\0b", "null byte")],
)
def test_a_file_that_cannot_be_read_is_named(name, why, empty, tmp_path) -> None:
    path = f"{tmp_path}/{name}"
    with pytest.raises(leasehold.InvalidInputError, match=why) as caught:
        empty.checkpoint(signing_key=path)
    assert f"the signing key in {tmp_path}" in str(caught.value)


WRONG_LINES = {
    "a key alone": {"key": "0" * 64},
    "a signature alone": {"signature": "0" * 128},
    "a short key": {"key": "0" * 63, "signature": "0" * 128},
    "a short signature": {"key": "0" * 64, "signature": "0" * 127},
    "an upper case signature": {"key": "0" * 64, "signature": "A" * 128},
    "a signature that is none": {"key": "0" * 64, "signature": None},
    "a key that is none": {"key": 5, "signature": "0" * 128},
    "more": {"key": "0" * 64, "signature": "0" * 128, "more": 1},
}


@pytest.mark.parametrize("case", WRONG_LINES)
def test_a_line_signed_in_another_form_is_refused(case, empty) -> None:
    line = json.dumps(json.loads(empty.checkpoint()) | WRONG_LINES[case])
    with pytest.raises(leasehold.InvalidInputError, match="checkpoint"):
        leasehold.Checkpoint.parse(line)


OPENSSL = shutil.which("openssl")


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not here")
def test_openssl_makes_keys_and_checks_signatures(told, tmp_path) -> None:
    def openssl(*arguments):
        command = [OPENSSL, *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    openssl("genpkey", "-algorithm", "ed25519", "-out", "secret.pem")
    openssl("pkey", "-in", "secret.pem", "-pubout", "-out", "public.pem")
    line = told.checkpoint(signing_key=tmp_path / "secret.pem")
    assert told.verify(line, public_key=tmp_path / "public.pem").signatures_checked == 1
    parsed = leasehold.Checkpoint.parse(line)
    der = openssl("pkey", "-pubin", "-in", "public.pem", "-outform", "DER").stdout
    assert hashlib.sha256(der).hexdigest() == parsed.key
    (tmp_path / "line").write_bytes(parsed.signed_bytes)
    (tmp_path / "signature").write_bytes(bytes.fromhex(parsed.signature))
    checked = openssl(
        *("pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin"),
        *("-in", "line", "-sigfile", "signature"),
    )
    assert b"Verified Successfully" in checked.stdout


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not here")
def test_a_key_that_openssl_encrypted_is_refused(empty, tmp_path) -> None:
    path = tmp_path / "secret.pem"
    making = ("genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:word")
    subprocess.run([OPENSSL, *making, "-out", path], check=True, capture_output=True)
    with pytest.raises(leasehold.InvalidInputError, match="is encrypted"):
        empty.checkpoint(signing_key=path)


WITHOUT_THE_EXTRA = """
import sys
sys.modules["cryptography"] = None
import leasehold
with leasehold.open("sqlite://") as ledger:
    line = ledger.checkpoint()
    print(ledger.verify(line).ok)
    for call in (
        lambda: ledger.checkpoint(signing_key=b""),
        lambda: ledger.verify(line, public_key=b""),
    ):
        try:
            call()
        except leasehold.StoreError as error:
            print(error)
"""


def test_without_the_extra_it_is_named_and_the_rest_goes_on() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_THE_EXTRA],
        env={name: os.environ[name] for name in ("PATH",) if name in os.environ},
        check=True,
        capture_output=True,
        text=True,
    )
    ok, *told = done.stdout.splitlines()
    assert ok == "True"
    assert len(told) == 2
    assert all("pip install 'leasehold[sign]'" in line for line in told)


def test_nobody_pays_for_signatures_who_uses_none() -> None:
    script = (
        "import sys, leasehold\n"
        "with leasehold.open('sqlite://') as ledger:\n"
        "    assert ledger.verify(ledger.checkpoint()).ok\n"
        "print('cryptography' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout == "False\n"
