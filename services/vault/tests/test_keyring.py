"""Sealing and opening under versions of the key-encryption key, whatever becomes of the bytes; and reading versions."""

import asyncio
import os
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from tests.support.keyring import QuickMasterKey

from common.errors import Unavailable
from common.ids import new_id
from vault.envelope import Context, EnvelopeError, Malformed, Sealed, Tampered
from vault.keyring import KekMissing, KekRecord, Keyring, State, new_record
from vault.master_key import LocalKek

CONTEXT = Context(new_id(), "openai", new_id(), 1)
SECRET = SecretStr("an ordinary secret")
BYTES = 5 + 60 + 60 + len("an ordinary secret")
"""Header, wrap, and the body: commitment, nonce, ciphertext, tag."""


class Records:
    """A keyring's table."""

    def __init__(self, *records: KekRecord) -> None:
        self.records = list(records)
        self.read = 0

    async def keks(self) -> list[KekRecord]:
        self.read += 1
        await asyncio.sleep(0)
        return list(self.records)


async def versions(source: QuickMasterKey, *states: State) -> Records:
    """Return a keyring of versions in these states."""
    return Records(*[await new_record(version, state, source) for version, state in zip(count(1), states)])


@pytest.fixture
def source() -> QuickMasterKey:
    return QuickMasterKey()


@pytest.fixture
async def records(source: QuickMasterKey) -> Records:
    return await versions(source, "decrypt-only", "primary")


@pytest.fixture
def keyring(records: Records, source: QuickMasterKey) -> Keyring:
    return Keyring(records, [source])


# Sealing and opening


async def test_opens_what_it_sealed_under_any_version(keyring: Keyring) -> None:
    for version in (1, 2):
        envelope = await keyring.seal(version, CONTEXT, SECRET)
        assert Sealed.parse(envelope).kek_version == version
        assert await keyring.open(CONTEXT, envelope) == SECRET
        assert len(envelope) == BYTES


async def test_two_envelopes_of_one_secret_share_only_the_header(keyring: Keyring) -> None:
    one, two = [await keyring.seal(2, CONTEXT, SECRET) for _ in range(2)]
    pieces = {one[start : start + 8] for start in range(5, len(one) - 8)}
    assert one[:5] == two[:5]
    assert not any(two[start : start + 8] in pieces for start in range(5, len(two) - 8))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(CONTEXT, workspace_id=new_id()), id="workspace"),
        pytest.param(replace(CONTEXT, provider="anthropic"), id="provider"),
        pytest.param(replace(CONTEXT, key_id=new_id()), id="key"),
        pytest.param(replace(CONTEXT, version=2), id="version"),
    ],
)
async def test_swapped_between_two_places_no_part_opens(keyring: Keyring, other: Context) -> None:
    here, there = [Sealed.parse(await keyring.seal(2, context, SECRET)) for context in (CONTEXT, other)]
    for swapped in (there, replace(here, wrap=there.wrap), replace(here, body=there.body)):
        with pytest.raises(Tampered):
            await keyring.open(CONTEXT, swapped.encode())


async def test_halves_of_two_envelopes_of_one_place_do_not_open(keyring: Keyring) -> None:
    one, two = [Sealed.parse(await keyring.seal(2, CONTEXT, SECRET)) for _ in range(2)]
    with pytest.raises(Tampered, match="not committed"):
        await keyring.open(CONTEXT, replace(one, wrap=two.wrap).encode())


async def test_a_wrap_says_the_version_it_was_made_under_even_where_two_versions_have_one_key() -> None:
    kek = LocalKek(os.urandom(32))
    source = QuickMasterKey()
    source.keks = {"0": kek, "1": kek}
    records = Records(
        *[
            KekRecord(
                version,
                "local",
                "decrypt-only",
                str(version - 1),
                await kek.wrap(bytes(32), b"tallyrun keyring check %d" % version),
            )
            for version in (1, 2)
        ]
    )
    keyring = Keyring(records, [source])
    sealed = Sealed.parse(await keyring.seal(1, CONTEXT, SECRET))
    with pytest.raises(Tampered):
        await keyring.open(CONTEXT, replace(sealed, kek_version=2).encode())


async def test_with_any_bit_flipped_it_does_not_open(keyring: Keyring) -> None:
    envelope = await keyring.seal(2, CONTEXT, SECRET)
    for bit in range(BYTES * 8):
        altered = bytearray(envelope)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(EnvelopeError):
            await keyring.open(CONTEXT, bytes(altered))
    print(f"{BYTES * 8} bits flipped, one at a time")


async def test_cut_or_extended_anywhere_it_does_not_open(keyring: Keyring) -> None:
    envelope = await keyring.seal(2, CONTEXT, SECRET)
    extended = [envelope[:at] + os.urandom(1) + envelope[at:] for at in range(BYTES)]
    extended += [envelope + os.urandom(length) for length in range(1, 33)]
    for altered in (*(envelope[:length] for length in range(BYTES)), *extended):
        with pytest.raises((Malformed, Tampered, KekMissing)):
            await keyring.open(CONTEXT, altered)


@settings(deadline=None)
@given(st.data())
def test_whatever_bytes_come_in_only_an_envelope_error_comes_out(data: st.DataObject) -> None:
    async def scenario() -> None:
        source = QuickMasterKey()
        keyring = Keyring(await versions(source, "primary"), [source])
        envelope = await keyring.seal(1, CONTEXT, SECRET)
        start = data.draw(st.integers(0, BYTES))
        end = data.draw(st.integers(start, BYTES))
        altered = envelope[:start] + data.draw(st.binary(max_size=80)) + envelope[end:]
        if altered != envelope:
            with pytest.raises(EnvelopeError):
                await keyring.open(CONTEXT, altered)
            with pytest.raises(EnvelopeError):
                await keyring.open(CONTEXT, await keyring.rewrap(1, CONTEXT, altered))

    asyncio.run(scenario())


# Rewrapping


async def test_a_rewrap_changes_the_wrap_and_never_the_body(keyring: Keyring) -> None:
    old = await keyring.seal(1, CONTEXT, SECRET)
    new = await keyring.rewrap(2, CONTEXT, old)
    before, after = Sealed.parse(old), Sealed.parse(new)
    assert (after.kek_version, after.body) == (2, before.body)
    assert after.wrap != before.wrap
    assert await keyring.open(CONTEXT, old) == await keyring.open(CONTEXT, new) == SECRET


async def test_what_was_moved_is_not_rewrapped(keyring: Keyring) -> None:
    envelope = await keyring.seal(1, CONTEXT, SECRET)
    with pytest.raises(Tampered):
        await keyring.rewrap(2, replace(CONTEXT, provider="anthropic"), envelope)


# Reading versions


async def test_another_key_of_the_same_version_opens_nothing(records: Records, keyring: Keyring) -> None:
    envelope = await keyring.seal(2, CONTEXT, SECRET)
    other = Keyring(records, [QuickMasterKey()])
    with pytest.raises(KekMissing, match=r"version 2 .* no local key that is set here is the one it was made with"):
        await other.open(CONTEXT, envelope)


async def test_a_version_that_was_added_meanwhile_is_read_when_it_is_met(
    records: Records, source: QuickMasterKey
) -> None:
    before = Keyring(records, [source])
    await before.read()
    records.records.append(await new_record(3, "decrypt-only", source))
    envelope = await Keyring(records, [source]).seal(3, CONTEXT, SECRET)
    read = records.read
    opened = await asyncio.gather(*(before.open(CONTEXT, envelope) for _ in range(50)))
    assert opened == [SECRET] * 50
    assert records.read == read + 1


async def test_a_retired_version_is_not_opened(records: Records, source: QuickMasterKey, keyring: Keyring) -> None:
    envelope = await keyring.seal(1, CONTEXT, SECRET)
    records.records[0] = replace(records.records[0], state="retired")
    with pytest.raises(KekMissing, match="it was retired"):
        await Keyring(records, [source]).open(CONTEXT, envelope)


async def test_a_source_that_was_away_is_asked_again(
    records: Records, source: QuickMasterKey, keyring: Keyring
) -> None:
    envelope = await keyring.seal(2, CONTEXT, SECRET)
    other = Keyring(records, [source])
    source.away = True
    with pytest.raises(KekMissing, match="the source is away") as missing:
        await other.open(CONTEXT, envelope)
    assert isinstance(missing.value, Unavailable)
    assert missing.value.status == 503
    source.away = False
    assert await other.open(CONTEXT, envelope) == SECRET


async def test_a_version_that_nobody_knows_is_asked_for_in_vain(keyring: Keyring) -> None:
    envelope = await keyring.seal(2, CONTEXT, SECRET)
    with pytest.raises(KekMissing, match="version 7"):
        await keyring.open(CONTEXT, replace(Sealed.parse(envelope), kek_version=7).encode())


def test_a_record_does_not_show_its_check() -> None:
    assert "check" not in repr(KekRecord(1, "local", "primary", "salt", b"check"))
