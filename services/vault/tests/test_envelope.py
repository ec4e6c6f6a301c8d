"""What is sealed opens in its place, under its key, unaltered: or not at all."""

import os
from dataclasses import replace

import pytest
from pydantic import SecretStr

from common.ids import new_id
from vault.envelope import Context, Envelope, EnvelopeError, Kek, Malformed, Tampered, WrongKey, derive_kek

CONTEXT = Context(new_id(), "openai", new_id(), 1)
SECRET = SecretStr("an ordinary secret")


@pytest.mark.parametrize("secret", ["x", "an ordinary secret", "schlüssel 鍵 🔑", "long " * 800])
def test_opens_what_it_sealed(envelope: Envelope, secret: str) -> None:
    sealed = envelope.seal(CONTEXT, SecretStr(secret))
    assert envelope.open(CONTEXT, sealed).get_secret_value() == secret


def test_the_secret_is_not_in_its_envelope(envelope: Envelope) -> None:
    assert SECRET.get_secret_value().encode() not in envelope.seal(CONTEXT, SECRET)


def test_two_envelopes_of_one_secret_share_only_the_header(envelope: Envelope) -> None:
    one, two = envelope.seal(CONTEXT, SECRET), envelope.seal(CONTEXT, SECRET)
    pieces = {one[start : start + 8] for start in range(11, len(one) - 8)}
    assert one[:11] == two[:11]
    assert not any(two[start : start + 8] in pieces for start in range(11, len(two) - 8))


@pytest.mark.parametrize(
    "other",
    [
        replace(CONTEXT, workspace_id=new_id()),
        replace(CONTEXT, provider="anthropic"),
        replace(CONTEXT, provider="openai2"),
        replace(CONTEXT, key_id=new_id()),
        replace(CONTEXT, version=2),
    ],
)
def test_moved_to_another_place_it_does_not_open(envelope: Envelope, other: Context) -> None:
    with pytest.raises(Tampered):
        envelope.open(other, envelope.seal(CONTEXT, SECRET))


def test_halves_of_two_envelopes_do_not_open(envelope: Envelope) -> None:
    one, two = envelope.seal(CONTEXT, SECRET), envelope.seal(CONTEXT, SECRET)
    with pytest.raises(Tampered):
        envelope.open(CONTEXT, one[:71] + two[71:])


def test_with_any_bit_flipped_it_does_not_open(envelope: Envelope) -> None:
    sealed = envelope.seal(CONTEXT, SECRET)
    for bit in range(len(sealed) * 8):
        altered = bytearray(sealed)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(EnvelopeError):
            envelope.open(CONTEXT, bytes(altered))


def test_cut_anywhere_it_does_not_open(envelope: Envelope) -> None:
    sealed = envelope.seal(CONTEXT, SECRET)
    for length in range(len(sealed)):
        with pytest.raises((Malformed, Tampered)):
            envelope.open(CONTEXT, sealed[:length])


@pytest.mark.parametrize("sealed", [b"", b"\x01", b"\x02" + bytes(200), b"iv:encrypted" * 20])
def test_what_is_no_envelope_is_malformed(envelope: Envelope, sealed: bytes) -> None:
    with pytest.raises(Malformed):
        envelope.open(CONTEXT, sealed)


@pytest.mark.parametrize("version", [1, 2])
def test_another_key_is_told_from_tampering(envelope: Envelope, version: int) -> None:
    other = Envelope()
    other.unlock(Kek(version, os.urandom(32)))
    with pytest.raises(WrongKey):
        other.open(CONTEXT, envelope.seal(CONTEXT, SECRET))


def test_the_version_of_its_key_cannot_be_rewritten(envelope: Envelope) -> None:
    key = os.urandom(32)
    for version in (2, 3):
        envelope.unlock(Kek(version, key))
    third = envelope.seal(CONTEXT, SECRET)
    second = third[:2] + b"\x02" + third[3:]
    with pytest.raises(Tampered):
        envelope.open(CONTEXT, second)


def test_after_a_new_key_the_old_envelopes_still_open(envelope: Envelope) -> None:
    old = envelope.seal(CONTEXT, SECRET)
    envelope.unlock(Kek(2, os.urandom(32)))
    new = envelope.seal(CONTEXT, SECRET)
    assert old[:11] != new[:11]
    assert envelope.open(CONTEXT, old) == envelope.open(CONTEXT, new) == SECRET


def test_a_key_follows_from_its_master_key_and_salt_alone() -> None:
    master, salt = os.urandom(32), os.urandom(16)
    assert derive_kek(1, master, salt) == derive_kek(1, master, salt)
    assert derive_kek(1, master, salt) != derive_kek(1, master, os.urandom(16))


def test_a_key_is_not_in_its_repr() -> None:
    key = os.urandom(32)
    assert repr(key) not in repr(Kek(1, key))
