"""`python -m vault`."""

import sys

from common.http import serve
from common.logs import configure_logging
from vault.app import create_app
from vault.master_key import MasterKeyRefused
from vault.settings import VaultSettings


def main() -> None:
    """Serve until SIGTERM; a refused master key ends the start with its reason."""
    settings = VaultSettings()
    configure_logging("vault", settings.log_level)
    try:
        app = create_app(settings)
    except MasterKeyRefused as refused:
        sys.exit(f"The vault does not start. {refused}")
    serve(app, settings.host, settings.vault_port, settings.drain_seconds)


if __name__ == "__main__":
    main()
