"""What is sealed opens in its place, under its data key, unaltered: or not at all. By published ciphers."""

import os
from dataclasses import replace
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from common.ids import new_id
from vault.envelope import (
    BODY_KEY,
    COMMITMENT,
    Context,
    EnvelopeError,
    Malformed,
    Sealed,
    Tampered,
    decrypt,
    derive,
    derive_kek,
    encrypt,
    new_data_key,
    open_body,
    seal_body,
)

CONTEXT = Context(new_id(), "openai", new_id(), 1)
SECRET = SecretStr("an ordinary secret")
OTHERS = {
    "workspace": replace(CONTEXT, workspace_id=new_id()),
    "provider": replace(CONTEXT, provider="anthropic"),
    "longer provider": replace(CONTEXT, provider="openai2"),
    "key": replace(CONTEXT, key_id=new_id()),
    "version": replace(CONTEXT, version=2),
}


# Published vectors


GCM_KEY = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"
GCM_NONCE = "cafebabefacedbaddecaf888"
GCM_PLAIN = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
)
GCM_CIPHER = (
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
)


@pytest.mark.parametrize(
    ("key", "nonce", "plain", "bound", "cipher", "tag"),
    [
        pytest.param("00" * 32, "00" * 12, "", "", "", "530f8afbc74536b9a963b4f1c4cb738b", id="13"),
        pytest.param(
            *("00" * 32, "00" * 12, "00" * 16, "", "cea7403d4d606b6e074ec5d3baf39d18"),
            "d0d1c8a799996bf0265b98b5d48ab919",
            id="14",
        ),
        pytest.param(GCM_KEY, GCM_NONCE, GCM_PLAIN, "", GCM_CIPHER, "b094dac5d93471bdec1a502270e3cc6c", id="15"),
        pytest.param(
            *(GCM_KEY, GCM_NONCE, GCM_PLAIN[:120], "feedfacedeadbeeffeedfacedeadbeefabaddad2", GCM_CIPHER[:120]),
            "76fc6ece0f4e1768cddf8853bb2d551b",
            id="16",
        ),
    ],
)
def test_aes_256_gcm_is_the_published_one(
    key: str, nonce: str, plain: str, bound: str, cipher: str, tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", appendix B, test cases 13 to 16."""
    monkeypatch.setattr(os, "urandom", lambda _: bytes.fromhex(nonce))
    sealed = encrypt(bytes.fromhex(key), bytes.fromhex(plain), bytes.fromhex(bound))
    assert sealed.hex() == nonce + cipher + tag
    assert decrypt(bytes.fromhex(key), sealed, bytes.fromhex(bound)).hex() == plain


def test_hkdf_is_the_published_one() -> None:
    """RFC 5869, appendix A.3: no salt, no info. Of its 42 bytes we take 32, which are the same ones (2.3)."""
    published = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    assert derive(b"\x0b" * 22, b"").hex() == published[:64]


def test_the_installed_hkdf_keeps_to_info_and_length() -> None:
    """RFC 5869, appendix A.1, which has an `info`."""
    published = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    salt, info = bytes(range(0x0D)), bytes(range(0xF0, 0xFA))
    assert HKDF(algorithm=SHA256(), length=42, salt=salt, info=info).derive(b"\x0b" * 22).hex() == published


# The body


@pytest.mark.parametrize("secret", ["x", "an ordinary secret", "schlüssel 鍵 🔑", "long " * 800])
def test_a_body_opens_to_its_secret_and_does_not_show_it(secret: str) -> None:
    data_key = new_data_key()
    body = seal_body(data_key, CONTEXT, SecretStr(secret))
    assert open_body(data_key, CONTEXT, body).get_secret_value() == secret
    assert len(secret) == 1 or secret.encode() not in body


@pytest.mark.parametrize("other", OTHERS)
def test_moved_to_another_place_a_body_does_not_open(other: str) -> None:
    data_key = new_data_key()
    with pytest.raises(Tampered):
        open_body(data_key, OTHERS[other], seal_body(data_key, CONTEXT, SECRET))


def test_no_two_contexts_look_alike() -> None:
    encoded = {context.encode() for context in (CONTEXT, *OTHERS.values())}
    under = {context.under(version) for context in (CONTEXT, *OTHERS.values()) for version in (1, 2, 256)}
    assert len(encoded) == 1 + len(OTHERS)
    assert len(under | encoded) == 4 * len(encoded)


def test_parts_of_one_context_cannot_be_read_as_those_of_another() -> None:
    """Written one after the other, these two would be the same bytes."""
    wrap = Context(CONTEXT.workspace_id, "openai", UUID(bytes=b"abcdefghijklmnop"), 1)
    body = Context(CONTEXT.workspace_id, "openaiab", UUID(bytes=b"cdefghijklmnop\0\0"), 1 << 16 | 1)
    assert wrap.under(1) != body.encode()


def test_what_decrypts_to_no_text_is_tampered_with() -> None:
    data_key = new_data_key()
    body = derive(data_key, COMMITMENT) + encrypt(derive(data_key, BODY_KEY), b"\xff\xfe", CONTEXT.encode())
    with pytest.raises(Tampered, match="not a text"):
        open_body(data_key, CONTEXT, body)


def test_a_body_that_two_keys_decrypt_opens_under_the_one_alone_that_it_is_committed_to() -> None:
    """AES-GCM commits to no key: here is a ciphertext that two keys decrypt without complaint, to different texts."""
    one, two = new_data_key(), new_data_key()
    ciphertext = for_two_keys(derive(one, BODY_KEY), derive(two, BODY_KEY), CONTEXT.encode())
    first, second = (decrypt(derive(key, BODY_KEY), ciphertext, CONTEXT.encode()) for key in (one, two))
    assert first != second
    with pytest.raises(Tampered, match="not committed"):
        open_body(two, CONTEXT, derive(one, COMMITMENT) + ciphertext)


def for_two_keys(one: bytes, two: bytes, bound: bytes) -> bytes:
    """Return a nonce, one block and a tag that verify under both keys.

    A tag is a polynomial at a point that follows from the key, plus a mask that does, too (NIST SP 800-38D, 7.1). The
    block is what makes the two tags equal (Dodis et al., "Fast Message Franking: From Invisible Salamanders to
    Encryptment", 2018).
    """
    nonce = os.urandom(12)
    lengths = (len(bound) * 8 << 64) | 128
    squares, rest = 0, 0
    for key in (one, two):
        point, mask = aes(key, bytes(16)), aes(key, nonce + b"\0\0\0\1")
        square = times(point, point)
        squares ^= square
        rest ^= times(ghash(point, bound), square) ^ times(lengths, point) ^ mask
    block = times(rest, inverse(squares))
    plain = block ^ aes(one, nonce + b"\0\0\0\2")
    return nonce + AESGCM(one).encrypt(nonce, plain.to_bytes(16, "big"), bound)


def aes(key: bytes, block: bytes) -> int:
    encryptor = Cipher(AES(key), ECB()).encryptor()
    return int.from_bytes(encryptor.update(block) + encryptor.finalize(), "big")


def ghash(point: int, bound: bytes) -> int:
    found = 0
    for start in range(0, len(bound), 16):
        found = times(found ^ int.from_bytes(bound[start : start + 16].ljust(16, b"\0"), "big"), point)
    return found


def times(one: int, two: int) -> int:
    """Multiply in GF(2^128) as GCM writes it down: the leftmost bit is the constant term (NIST SP 800-38D, 6.3)."""
    product = 0
    for bit in range(127, -1, -1):
        product ^= two if one >> bit & 1 else 0
        two = two >> 1 ^ (0xE1 << 120 if two & 1 else 0)
    return product


def inverse(value: int) -> int:
    power, result = value, 1 << 127
    for _ in range(127):  # value to the power of 2^128 - 2
        power = times(power, power)
        result = times(result, power)
    return result


# The parser


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_whatever_is_parsed_comes_back_or_is_malformed(envelope: bytes) -> None:
    try:
        sealed = Sealed.parse(envelope)
    except Malformed:
        return
    assert sealed.encode() == envelope


@settings(deadline=None)
@given(st.integers(0, 65_535), st.integers(0, 300), st.binary(max_size=300))
def test_whatever_follows_a_good_header_is_taken_apart_or_refused(version: int, length: int, rest: bytes) -> None:
    header = b"\x01" + version.to_bytes(2, "big") + length.to_bytes(2, "big")
    try:
        sealed = Sealed.parse(header + rest)
    except Malformed:
        assert len(rest) < length + 60
    else:
        assert len(rest) >= length + 60
        assert (sealed.kek_version, sealed.wrap, sealed.body) == (version, rest[:length], rest[length:])
        with pytest.raises(Tampered):
            open_body(new_data_key(), CONTEXT, sealed.body)


@settings(deadline=None)
@given(st.binary(max_size=64), st.binary(max_size=120))
def test_whatever_is_opened_raises_nothing_but_an_envelope_error(data_key: bytes, body: bytes) -> None:
    with pytest.raises(EnvelopeError):
        open_body(data_key, CONTEXT, body)
    with pytest.raises(EnvelopeError):
        decrypt(new_data_key(), body, b"")


@pytest.mark.parametrize("envelope", [b"", b"\x01", b"\x00" + bytes(200), b"\x02" + bytes(200), b"iv:encrypted" * 20])
def test_what_is_no_envelope_is_malformed(envelope: bytes) -> None:
    with pytest.raises(Malformed):
        Sealed.parse(envelope)


def test_an_envelope_taken_apart_shows_nothing() -> None:
    sealed = Sealed(1, b"a wrap", b"a body")
    assert "wrap" not in repr(sealed)
    assert "body" not in repr(sealed)


# The master key


def test_a_key_follows_from_its_master_key_and_salt_alone() -> None:
    master, salt = os.urandom(32), os.urandom(16)
    assert derive_kek(master, salt) == derive_kek(master, salt) != derive_kek(master, os.urandom(16))
