"""The gateway's tables, as its migrations make them."""

from pathlib import Path

import gateway.migrations
from common.schema import Schema

SCHEMA = Schema("gateway", Path(gateway.migrations.__path__[0]))
