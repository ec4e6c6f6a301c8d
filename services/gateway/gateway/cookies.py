"""Sessions of browsers: a cookie that stands for a token for some hours, and who may use it from where."""

from fastapi import Request, Response

from common.errors import Forbidden

SECONDS = 12 * 3600
"""A working day: then the token is asked for again."""

SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing (RFC 9110, 9.2.1)."""


def cookie_of(request: Request) -> str:
    """Return the request's session, or an empty string; one that only comes over TLS goes first."""
    return next((request.cookies[name] for name in _names(request) if name in request.cookies), "")


def keep(request: Request, response: Response, session: str) -> None:
    """Have the browser keep the session: out of reach of scripts, of other sites, and of plain HTTP where it can be.

    Whether the browser speaks TLS is told by its `Origin`: behind a proxy the connection here is plain.
    """
    secure = request.headers.get("origin", "").startswith("https://")
    name = _names(request)[0 if secure else 1]
    response.set_cookie(name, session, max_age=SECONDS, httponly=True, samesite="strict", secure=secure)


def forget(request: Request, response: Response) -> None:
    """Have the browser drop its session."""
    for name in _names(request):
        response.delete_cookie(name, httponly=True, samesite="strict", secure=name.startswith("__Host-"))


def check_origin(request: Request) -> None:
    """Raise `Forbidden` unless the request comes from a page of ours: a browser sends cookies along unasked.

    Browsers say where a request comes from, and no script can make them lie: by `Sec-Fetch-Site`, whatever a proxy has
    made of the host's name; without TLS by `Origin` alone. What says neither is no browser.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin", "")
    ours = origin.partition("://")[2] == request.headers.get("host") if site is None else site == "same-origin"
    if not ours:
        raise Forbidden("a session only acts from the dashboard's own page; elsewhere send the token as Bearer")


def _names(request: Request) -> tuple[str, str]:
    """Return the cookie's names over TLS and without. The port is part of them: browsers share cookies among ports."""
    port = request.headers.get("host", "").rpartition(":")[2]
    name = f"tallyrun-{port}" if port.isdigit() else "tallyrun"
    return f"__Host-{name}", name
