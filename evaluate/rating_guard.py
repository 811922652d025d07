"""Who may speak to the rating page: addresses, the token, other sites; and the headers of every answer.

Knows nothing of ratings.
"""

from __future__ import annotations

import ipaddress
import secrets
from urllib.parse import urlsplit

from aiohttp import web

from self_instruct.errors import DataError, SelfInstructError

COOKIE = "self-instruct-rating"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def is_own(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def error(status: int, what: SelfInstructError, **more: str) -> web.Response:
    """An error as the page shows it."""
    return web.json_response({"error": what.message, "hint": what.hint or "", **more}, status=status)


def refused(request: web.Request, token: str | None) -> web.Response | None:
    """Why a request isn't served: of another site, by another name of this machine, or without the token; None where it is.

    Whoever opens the link with the token gets it as a cookie.
    """
    host = request.headers.get("Host", "")
    # Another site may have its own name point here (DNS rebinding); then the browser thinks it is that site's page.
    if token is None and not is_own(_name(host)):
        return error(403, DataError(f"this page isn't served as {host[:100]!r}", hint="open the link that was printed"))
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site", "none")
    foreign = request.path.startswith("/api/") and site not in ("same-origin", "none")
    if foreign or (origin is not None and urlsplit(origin).netloc != host):
        return error(403, DataError("this was sent by another site's page", hint="open the link that was printed"))
    if request.method == "POST" and request.content_type != "application/json":
        return error(415, DataError(f"JSON is asked for, not {request.content_type[:60]}"))
    if token is None or _same(request.cookies.get(COOKIE, ""), token):
        return None
    if request.path == "/" and _same(request.query.get("token", ""), token):
        entered = web.Response(status=303, headers={"Location": "/"})  # the token isn't left in the browser's history
        entered.set_cookie(COOKIE, token, httponly=True, samesite="Strict", path="/")
        return entered
    return error(403, DataError("the token is missing or wrong", hint="open the whole link that was printed, with its token"))


def _same(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode("utf-8", "replace"), other.encode())


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
