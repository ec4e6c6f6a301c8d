"""`python -m common.probe URL`: exit 0 if it answers 200. A container's own health check, for images without curl."""

import sys
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 4


def main(url: str) -> int:
    """Ask; on failure print what was answered and return 1."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS):  # noqa: S310 - the container's own address
            return 0
    except urllib.error.HTTPError as refused:
        with refused:
            print(refused.read().decode(errors="replace"))  # noqa: T201 - `docker inspect` shows it
    except OSError as error:
        print(error)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
