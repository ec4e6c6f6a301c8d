"""Provider keys and workspaces, as the gateway lists them."""

from datetime import datetime

from tallyrun.wire import Told


class Key(Told):
    """A provider key: never more of it than its last characters. Use is null while it is not known."""

    id: str
    provider: str
    name: str
    preview: str
    state: str
    is_active: bool
    verified: bool
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    usage_count: int | None


class Workspace(Told):
    """Whose a token is."""

    id: str
    name: str
    created_at: datetime
