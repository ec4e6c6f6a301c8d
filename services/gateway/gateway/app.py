"""Wiring: the only place that knows every part."""

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from fastapi import APIRouter, FastAPI

from common.callers import speaker
from common.contracts.topics import MAX_BODY_BYTES, REPLIES
from common.http import Lifespan, ServiceClient, Speaker, service_app
from common.identity import Signer
from common.kafka import Publisher, declare_topics
from common.lockout import Lockout
from common.objects import Objects
from common.periodic import repeating
from common.providers import Providers
from common.redaction import SECRETS
from gateway.analytics import Analytics
from gateway.ask import Asks
from gateway.assets import Assets
from gateway.batches.feeder import Feeding
from gateway.batches.files import MAX_FILE_BYTES, SWEEP_SECONDS, Files
from gateway.batches.finish import Finishing
from gateway.batches.inputs import Inputs
from gateway.batches.orders import Orders
from gateway.batches.owner import Owners
from gateway.batches.quote_file import Quotes
from gateway.batches.results import Results
from gateway.batches.sending import Sending
from gateway.batches.submit import Batches
from gateway.batches.upload import FORM_OVERHEAD
from gateway.claims import PRUNE_SECONDS, prune_old
from gateway.compatible import RequestIds, answer_error
from gateway.connect import Connecting
from gateway.grants import Grants
from gateway.load import Door, Load
from gateway.models import Models
from gateway.online import Online
from gateway.publish import CancelledLog, CompletedLog, RequestLog
from gateway.quota.limits import WorkspaceLimits
from gateway.quota.quota import Quota
from gateway.quota.rate import RunRate
from gateway.quota.use import Uses
from gateway.quota.waiting import WaitingRuns
from gateway.rejected import RejectedLog
from gateway.rejected_log import KafkaRejectedLog
from gateway.replay import Replays
from gateway.replies import Replies
from gateway.routes.access import AccessRoutes
from gateway.routes.analytics import AnalyticsRoutes
from gateway.routes.batches import BatchRoutes
from gateway.routes.batches_v1 import OpenAIBatchRoutes
from gateway.routes.chat import ChatRoutes
from gateway.routes.dashboard import DashboardRoutes
from gateway.routes.export import ExportRoutes
from gateway.routes.files import PATH as FILES_PATH
from gateway.routes.files import FileRoutes
from gateway.routes.grants import GrantRoutes
from gateway.routes.integrations import IntegrationRoutes
from gateway.routes.limits import LimitRoutes
from gateway.routes.messages import MessageRoutes
from gateway.routes.models import ModelRoutes
from gateway.routes.prices import PriceRoutes
from gateway.routes.providers import ProviderRoutes
from gateway.routes.quotes import QuoteRoutes
from gateway.routes.rejected import RejectedRoutes
from gateway.routes.runs import RunRoutes
from gateway.routes.sessions import SessionRoutes
from gateway.runs import Runs
from gateway.service_grants import ServiceGrants
from gateway.settings import GatewaySettings
from gateway.store import Store
from gateway.tokens import Tokens, hashed, read_admin_token
from gateway.trial import Trials
from gateway.vault import Vault


@dataclass(frozen=True)
class Connections:
    """What is opened at the start and closed at the end."""

    store: Store
    publisher: Publisher
    replies: Replies
    vault: ServiceClient
    analytics: ServiceClient
    objects: Objects

    async def ready(self) -> None:
        """Raise `Unavailable` unless database and broker answer."""
        self.replies.check()
        await self.store.ping()


@dataclass(frozen=True)
class Shared:
    """What both single runs and batches are made with."""

    tokens: Tokens
    grants: Grants
    providers: Providers
    vault: Vault
    analytics: Analytics
    requests: RequestLog
    models: Models
    quota: Quota
    uses: Uses
    load: Load


@dataclass(frozen=True)
class Batching:
    """What batches are made with."""

    files: Files
    results: Results
    owners: Owners


def create_app(settings: GatewaySettings) -> FastAPI:
    """Return the gateway."""
    signer = Signer.load("gateway", settings.identity_dir)
    connections = _connections(settings, speaker("gateway", settings))
    shared = _shared(settings, connections, signer)
    batching = _batching(settings, connections, shared)
    app = service_app(
        "Tallyrun gateway",
        _lifespan(settings, connections, batching),
        connections.ready,
        MAX_BODY_BYTES,
        connections.store.add_denial,
        answer_error,
        {FILES_PATH: MAX_FILE_BYTES + FORM_OVERHEAD},
    )
    app.add_middleware(RequestIds)
    app.add_middleware(Door, load=shared.load, answer=answer_error)
    for router in (*_routers(settings, connections, signer, shared), *_batch_routers(connections, shared, batching)):
        app.include_router(router)
    return app


def _connections(settings: GatewaySettings, identity: Speaker) -> Connections:
    partition = random.randrange(REPLIES.partitions)  # noqa: S311 - it spreads replicas, and hides nothing
    return Connections(
        store=Store(settings.database_url.get_secret_value()),
        publisher=Publisher(settings.kafka_bootstrap_servers),
        replies=Replies(settings.kafka_bootstrap_servers, partition),
        vault=ServiceClient(settings.vault_url, "vault", identity),
        analytics=ServiceClient(settings.analytics_url, "analytics", identity),
        objects=Objects(settings.files_url),
    )


def _lifespan(settings: GatewaySettings, connections: Connections, batching: Batching) -> Lifespan:
    async def prune() -> None:
        await prune_old(connections.store)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        admin_token = read_admin_token(settings.admin_token_file)
        SECRETS.hide(admin_token)
        operator = hashed(admin_token)
        await declare_topics(settings.kafka_bootstrap_servers, settings.kafka_replication)
        async with AsyncExitStack() as opened:
            for part in (connections.store, connections.replies):
                opened.push_async_callback(part.close)
            opened.push_async_callback(connections.publisher.close)
            opened.push_async_callback(connections.vault.close)
            opened.push_async_callback(connections.analytics.close)
            await connections.store.start(operator, migrate=settings.migrate_on_start)
            await connections.publisher.start()
            await connections.replies.start()
            await opened.enter_async_context(repeating(prune, PRUNE_SECONDS))
            await opened.enter_async_context(repeating(batching.files.sweep, SWEEP_SECONDS))
            batching.owners.start()
            opened.push_async_callback(batching.owners.stop)
            yield

    return lifespan


def _shared(settings: GatewaySettings, connections: Connections, signer: Signer) -> Shared:
    vault, providers = Vault(connections.vault), Providers.load(settings)
    analytics = Analytics(connections.analytics)
    quota, uses = _quota(settings, connections.store, analytics)
    return Shared(
        tokens=Tokens(connections.store, Lockout(settings.failed_tokens), signer.verifier()),
        grants=Grants(signer),
        providers=providers,
        vault=vault,
        models=Models(vault, providers),
        analytics=analytics,
        requests=RequestLog(connections.publisher, settings.publish_seconds),
        quota=quota,
        uses=uses,
        load=Load(settings.entering_requests, settings.open_requests, settings.open_bytes),
    )


def _quota(settings: GatewaySettings, store: Store, analytics: Analytics) -> tuple[Quota, Uses]:
    limits, waiting = WorkspaceLimits(store.limits, settings.workspace_limits()), WaitingRuns(analytics)
    return Quota(limits, RunRate(store.limits), waiting), Uses(store.limits, store.files, waiting, limits)


def _routers(settings: GatewaySettings, connections: Connections, signer: Signer, shared: Shared) -> list[APIRouter]:
    store, tokens, vault, analytics = connections.store, shared.tokens, shared.vault, shared.analytics
    runs, online_runs = (
        _runs(connections, shared, seconds) for seconds in (settings.sync_wait_seconds, settings.online_wait_seconds)
    )
    online = Online(online_runs, settings.online_wait_seconds, settings.keep_alive_seconds)
    trials = Trials(shared.requests, connections.replies, shared.grants, settings.sync_wait_seconds)
    connecting = Connecting(vault, trials, shared.providers, store.batches)
    rejected = KafkaRejectedLog(settings.kafka_bootstrap_servers)
    return [
        RunRoutes(tokens, runs, analytics, store).router,
        IntegrationRoutes(tokens, connecting, trials, vault, analytics).router,
        AnalyticsRoutes(tokens, analytics, vault).router,
        ExportRoutes(tokens, analytics).router,
        AccessRoutes(tokens, store).router,
        LimitRoutes(tokens, shared.uses).router,
        GrantRoutes(tokens, ServiceGrants(signer, store, vault, shared.providers), store).router,
        RejectedRoutes(tokens, rejected, _replays(settings, connections, shared, rejected)).router,
        *(surface(tokens, Asks(shared.models), online_runs, online).router for surface in (ChatRoutes, MessageRoutes)),
        ModelRoutes(tokens, shared.models).router,
        PriceRoutes(tokens, shared.models).router,
        ProviderRoutes(tokens, shared.providers).router,
        SessionRoutes(tokens, store, signer, simulated=settings.simulated).router,
        DashboardRoutes(Assets.load()).router,
    ]


def _runs(connections: Connections, shared: Shared, wait_seconds: float) -> Runs:
    return Runs(
        requests=shared.requests,
        replies=connections.replies,
        grants=shared.grants,
        claims=connections.store,
        stored=shared.analytics,
        providers=shared.providers,
        quota=shared.quota,
        load=shared.load,
        sync_wait_seconds=wait_seconds,
    )


def _replays(settings: GatewaySettings, connections: Connections, shared: Shared, rejected: RejectedLog) -> Replays:
    return Replays(
        rejected=rejected,
        requests=shared.requests,
        completions=CompletedLog(connections.publisher, settings.publish_seconds),
        grants=shared.grants,
        store=connections.store,
        stored=shared.analytics,
    )


def _batching(settings: GatewaySettings, connections: Connections, shared: Shared) -> Batching:
    files = Files(connections.store.files, connections.objects, shared.quota)
    results = Results(shared.analytics, files)
    feeding = Feeding(
        files=files,
        sending=Sending(shared.requests, connections.replies, shared.grants),
        cancelled=CancelledLog(connections.publisher, settings.publish_seconds),
        analytics=shared.analytics,
        providers=shared.providers,
        objects=connections.objects,
        orders=Orders(shared.requests, connections.replies, shared.grants),
        quota=shared.quota,
    )
    owners = Owners(connections.store.batches, shared.models, feeding, Finishing(results, files, shared.analytics))
    return Batching(files, results, owners)


def _batch_routers(connections: Connections, shared: Shared, batching: Batching) -> list[APIRouter]:
    store, tokens, files = connections.store, shared.tokens, batching.files
    batches = Batches(store.batches, store.files, files, batching.results, batching.owners.wake)
    return [
        FileRoutes(tokens, store, files).router,
        OpenAIBatchRoutes(tokens, store, batches).router,
        BatchRoutes(tokens, store, batches, batching.results, Inputs(files)).router,
        QuoteRoutes(tokens, Quotes(store.files, files, shared.models, shared.analytics)).router,
    ]
