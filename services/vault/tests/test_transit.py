"""Key-encryption keys at a transit server: what it is asked, and what becomes of each of its refusals."""

import base64
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from uuid import UUID

import httpx2
import pytest
from pydantic import SecretStr
from tests.support.keyring import QuickMasterKey
from tests.support.transit import Refused, TransitKey, TransitServer, running, transit_server

from common.contracts.credentials_v1 import KeyView
from common.engines.ports import free_port
from common.errors import Unavailable
from common.ids import new_id
from vault.envelope import Context, EnvelopeError, Sealed, Tampered
from vault.kek_versions import add, promote, retire
from vault.keyring import KekMissing, Keyring
from vault.master_key import MasterKeyRefused
from vault.settings import VaultSettings
from vault.sources import unlock
from vault.store import Store
from vault.transit import Transit

Connect = Callable[..., Awaitable[KeyView]]
Lease = Callable[..., Awaitable[httpx2.Response]]

CONTEXT = Context(new_id(), "openai", new_id(), 1)
SECRET = SecretStr("an ordinary secret")


@pytest.fixture
def token() -> str:
    return f"token-{secrets.token_hex()}"


@pytest.fixture
def token_file(tmp_path: Path, token: str) -> Path:
    file = tmp_path / "token"
    write(file, f"{token}\n")
    return file


def write(file: Path, text: str) -> None:
    file.write_text(text)


def remove(file: Path) -> None:
    file.unlink()


@pytest.fixture
def server(token: str) -> Iterator[TransitServer]:
    with transit_server(token) as server:
        yield server


@pytest.fixture
async def transit(server: TransitServer, token_file: Path) -> AsyncIterator[Transit]:
    transit = Transit(server.url, "transit", "tallyrun", token_file)
    yield transit
    await transit.close()


async def answer_instead(transit: Transit, content: bytes) -> None:
    """Let every call be answered with this, whatever it asks."""
    await transit.close()
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=content))
    transit._http = httpx2.AsyncClient(base_url="http://transit", transport=transport)


@pytest.fixture
async def keyring(store: Store, transit: Transit) -> Keyring:
    keyring = Keyring(store, [transit])
    await unlock(keyring, store, [transit])
    return keyring


async def test_opens_what_it_sealed_and_so_does_another_replica(
    keyring: Keyring, store: Store, transit: Transit
) -> None:
    envelope = await keyring.seal(1, CONTEXT, SECRET)
    assert Sealed.parse(envelope).wrap.startswith(b"vault:v1:")
    assert await keyring.open(CONTEXT, envelope) == SECRET
    assert await Keyring(store, [transit]).open(CONTEXT, envelope) == SECRET


async def test_a_wrap_is_bound_to_its_place_and_version(keyring: Keyring, transit: Transit) -> None:
    wrap = Sealed.parse(await keyring.seal(1, CONTEXT, SECRET)).wrap
    kek = await transit.kek("transit/tallyrun:v1")
    assert len(await kek.unwrap(wrap, CONTEXT.under(1))) == 32
    for bound in (CONTEXT.under(2), CONTEXT.encode(), b""):
        with pytest.raises(Tampered):
            await kek.unwrap(wrap, bound)


async def test_with_any_byte_altered_or_cut_it_does_not_open(keyring: Keyring) -> None:
    envelope = await keyring.seal(1, CONTEXT, SECRET)
    altered = [envelope[:at] + bytes([envelope[at] ^ 1]) + envelope[at + 1 :] for at in range(len(envelope))]
    altered += [envelope[:at] + bytes([envelope[at] | 128]) + envelope[at + 1 :] for at in range(5, 94)]
    for damaged in (*altered, *(envelope[:length] for length in range(len(envelope)))):
        with pytest.raises(EnvelopeError):
            await keyring.open(CONTEXT, damaged)


async def test_a_rotated_transit_key_changes_nothing_until_it_is_added(
    keyring: Keyring, store: Store, transit: Transit, server: TransitServer
) -> None:
    old = await keyring.seal(1, CONTEXT, SECRET)
    server.keys["tallyrun"].rotate()
    assert Sealed.parse(await keyring.seal(1, CONTEXT, SECRET)).wrap.startswith(b"vault:v1:")
    assert (await add(store, transit)).reference == "transit/tallyrun:v2"
    await promote(store, keyring, 2)
    new = await keyring.rewrap(2, CONTEXT, old)
    await retire(store, 1)
    server.keys["tallyrun"].min_decryption_version = 2
    assert Sealed.parse(new).wrap.startswith(b"vault:v2:")
    assert await keyring.open(CONTEXT, new) == SECRET
    with pytest.raises(KekMissing, match="too old"):
        await keyring.open(CONTEXT, old)


async def test_from_a_master_key_to_transit_and_back(store: Store, transit: Transit) -> None:
    first, last = QuickMasterKey(), QuickMasterKey()
    keyring = Keyring(store, [first, transit])
    await unlock(keyring, store, [first, transit])
    local = await keyring.seal(1, CONTEXT, SECRET)
    assert (await add(store, transit)).kind == "transit"
    await promote(store, keyring, 2)
    moved = await keyring.rewrap(2, CONTEXT, local)
    await retire(store, 1)
    alone = Keyring(store, [transit])
    await unlock(alone, store, [transit])
    assert await alone.open(CONTEXT, moved) == SECRET
    await add(store, last)
    back = Keyring(store, [last, transit])
    await promote(store, back, 3)
    assert await Keyring(store, [last]).open(CONTEXT, await back.rewrap(3, CONTEXT, moved)) == SECRET


# Refusals


@pytest.fixture
def settings(settings: VaultSettings, server: TransitServer, token_file: Path) -> VaultSettings:
    """Take this file's service to the transit server alone."""
    transit = {"transit_url": server.url, "transit_token_file": token_file}
    return settings.model_copy(update={"api_key_encryption_key_file": None, **transit})


async def test_while_the_server_is_out_of_order_a_lease_is_503_and_a_key_is_not_saved(
    connect: Connect, lease: Lease, gateway: httpx2.AsyncClient, server: TransitServer, workspace: UUID
) -> None:
    secret = f"key-{secrets.token_hex()}"
    await connect(secret)
    assert (await lease()).json()["secret"] == secret
    server.out_of_order = Refused(503, "Vault is sealed")
    saving = {"provider": "openai", "secret": secret, "actor": "ann"}
    for refused in (await lease(), await gateway.post(f"/workspaces/{workspace}/keys", json=saving)):
        assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (
            503,
            "unavailable",
            "2",
        )
        assert secret not in refused.text
    server.out_of_order = None
    assert (await lease()).json()["secret"] == secret


async def test_a_server_that_is_away_is_unavailable_and_serves_again_when_it_is_back(
    store: Store, token: str, token_file: Path
) -> None:
    server = TransitServer(free_port(), token)
    server.keys["tallyrun"] = TransitKey()
    transit = Transit(server.url, "transit", "tallyrun", token_file)
    keyring = Keyring(store, [transit])
    with running(server):
        await unlock(keyring, store, [transit])
        envelope = await keyring.seal(1, CONTEXT, SECRET)
    with pytest.raises(Unavailable, match="cannot be reached") as away:
        await keyring.open(CONTEXT, envelope)
    assert (away.value.status, away.value.retry_after) == (503, 2)
    with pytest.raises(MasterKeyRefused, match="cannot be reached"):
        await unlock(Keyring(store, [transit]), store, [transit])
    with running(server):
        assert await keyring.open(CONTEXT, envelope) == SECRET
    await transit.close()


async def test_a_token_is_read_anew_and_a_wrong_one_is_unavailable(
    keyring: Keyring, server: TransitServer, token_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    envelope = await keyring.seal(1, CONTEXT, SECRET)
    server.token = f"token-{secrets.token_hex()}"
    with pytest.raises(Unavailable, match="refuses the token"):
        await keyring.open(CONTEXT, envelope)
    assert "permission denied" in str(vars(caplog.records[-1]))
    remove(token_file)
    with pytest.raises(Unavailable, match="TRANSIT_TOKEN_FILE cannot be read"):
        await keyring.open(CONTEXT, envelope)
    write(token_file, server.token)
    assert await keyring.open(CONTEXT, envelope) == SECRET


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        pytest.param(Refused(503, "Vault is sealed"), "Vault is sealed", id="sealed"),
        pytest.param(Refused(500, "1 error occurred"), "1 error occurred", id="internal"),
        pytest.param(Refused(429), "status 429", id="rate limit"),
        pytest.param(Refused(404, "no handler for route"), "no handler for route", id="no such mount"),
    ],
)
async def test_a_server_that_cannot_answer_is_unavailable(
    keyring: Keyring, server: TransitServer, refused: Refused, said: str
) -> None:
    envelope = await keyring.seal(1, CONTEXT, SECRET)
    server.out_of_order = refused
    with pytest.raises(Unavailable, match=said) as unavailable:
        await keyring.open(CONTEXT, envelope)
    assert not isinstance(unavailable.value, EnvelopeError)


async def test_a_deleted_key_is_missing_and_one_made_again_is_not_it(
    keyring: Keyring, store: Store, transit: Transit, server: TransitServer
) -> None:
    envelope = await keyring.seal(1, CONTEXT, SECRET)
    del server.keys["tallyrun"]
    with pytest.raises(KekMissing, match="encryption key not found") as missing:
        await keyring.open(CONTEXT, envelope)
    assert missing.value.status == 503
    server.keys["tallyrun"] = TransitKey()
    with pytest.raises(Tampered):
        await keyring.open(CONTEXT, envelope)
    with pytest.raises(MasterKeyRefused, match="no transit key that is set here is the one it was made with"):
        await unlock(Keyring(store, [transit]), store, [transit])


async def test_a_version_that_the_server_has_no_more_is_missing(
    store: Store, transit: Transit, server: TransitServer
) -> None:
    server.keys["tallyrun"].rotate()
    keyring = Keyring(store, [transit])
    await unlock(keyring, store, [transit])
    envelope = await keyring.seal(1, CONTEXT, SECRET)
    server.keys["tallyrun"] = TransitKey()
    with pytest.raises(KekMissing, match="too new"):
        await keyring.open(CONTEXT, envelope)
    with pytest.raises(KekMissing, match="higher than the latest"):
        await keyring.seal(1, CONTEXT, SECRET)


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"[]",
        b'{"data": null}',
        b'{"data": {"plaintext": 1}}',
        b'{"data": {"plaintext": "?"}}',
        pytest.param(b'{"data": {"ciphertext": "vault:v7:AAAA", "plaintext": "?"}}', id="another version"),
    ],
)
async def test_an_answer_that_is_none_of_the_api_is_unavailable(transit: Transit, answer: bytes) -> None:
    await answer_instead(transit, answer)
    kek = await transit.kek("transit/tallyrun:v1")
    with pytest.raises(Unavailable):
        await kek.unwrap(b"vault:v1:AAAA", b"")
    with pytest.raises(Unavailable):
        await kek.wrap(bytes(32), b"")


async def test_a_data_key_of_another_length_is_tampered_with(keyring: Keyring, transit: Transit) -> None:
    envelope = await keyring.seal(1, CONTEXT, SECRET)
    await answer_instead(transit, b'{"data": {"plaintext": "%s"}}' % base64.b64encode(b"short"))
    with pytest.raises(Tampered):
        await keyring.open(CONTEXT, envelope)


async def test_neither_token_nor_data_key_is_in_the_logs(
    keyring: Keyring, server: TransitServer, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    envelope = await keyring.seal(1, CONTEXT, SECRET)
    data_key = await keyring._data_key(CONTEXT, Sealed.parse(envelope))
    server.out_of_order = Refused(403, "permission denied")
    with pytest.raises(Unavailable):
        await keyring.open(CONTEXT, envelope)
    seen = caplog.text + str([vars(record) for record in caplog.records])
    assert "/v1/transit/decrypt/tallyrun" in seen
    for secret in (token, base64.b64encode(data_key).decode(), data_key.hex(), str(data_key)):
        assert secret not in seen
