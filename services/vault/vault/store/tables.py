"""The tables of keys, of their versions, of the keyring and of revoked grants. The audit has its own."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
)

METADATA = MetaData()

KEKS = Table(
    "keks",
    METADATA,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("check", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
IS_PRIMARY = KEKS.c.state == "primary"
Index("keks_primary", KEKS.c.state, unique=True, postgresql_where=IS_PRIMARY)

KEYS = Table(
    "keys",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("workspace_id", Uuid, nullable=False),
    Column("provider", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("latest_version", Integer, nullable=False),
    Column("active_version", Integer),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("deactivated_at", BigInteger),
)
LIVE = KEYS.c.deactivated_at.is_(None)
NAME = (KEYS.c.workspace_id, KEYS.c.provider, KEYS.c.name)
Index("keys_live_name", *NAME, unique=True, postgresql_where=LIVE)
Index("keys_newest", KEYS.c.workspace_id, KEYS.c.id)

VERSIONS = Table(
    "key_versions",
    METADATA,
    Column("key_id", ForeignKey(KEYS.c.id), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("sealed", LargeBinary),  # NULL: replaced, and wiped
    # The envelope's own bytes say which: a column of its own could say something else.
    Column("kek_version", Integer, Computed("get_byte(sealed, 1) * 256 + get_byte(sealed, 2)", persisted=True)),
    Column("preview", Text, nullable=False),
    Column("verified", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("activated_at", BigInteger),
    Column("retired_at", BigInteger),
    Column("expires_at", BigInteger),
)
WAITS = VERSIONS.c.activated_at.is_(None)
Index("key_versions_pending", VERSIONS.c.created_at, postgresql_where=WAITS)
Index("key_versions_kek", VERSIONS.c.kek_version)

REVOKED_GRANTS = Table(
    "revoked_grants",
    METADATA,
    Column("grant_id", Uuid, primary_key=True),
    Column("workspace_id", Uuid, nullable=False),
    Column("revoked_at", BigInteger, nullable=False),
)
