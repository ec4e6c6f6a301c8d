"""The system's keyring, where it has one: tokens by profile and address."""

SERVICE = "tallyrun"


def get(profile: str, url: str) -> str | None:
    """Return the token, or nothing where there is none or no keyring."""
    import keyring  # noqa: PLC0415 - looking for the system's keyring takes a while, and most callers need none
    from keyring.errors import KeyringError  # noqa: PLC0415

    try:
        return keyring.get_password(SERVICE, _user(profile, url))
    except (KeyringError, RuntimeError):
        return None


def put(profile: str, url: str, token: str) -> bool:
    """Keep the token; False where there is no keyring that does."""
    import keyring  # noqa: PLC0415
    from keyring.errors import KeyringError  # noqa: PLC0415

    try:
        keyring.set_password(SERVICE, _user(profile, url), token)
    except (KeyringError, RuntimeError):
        return False
    return True


def _user(profile: str, url: str) -> str:
    return f"{profile} at {url}"
