"""The vault's tables, as its migrations make them."""

from pathlib import Path

import vault.migrations
from common.schema import Schema

SCHEMA = Schema("vault", Path(vault.migrations.__path__[0]))
