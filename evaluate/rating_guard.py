"""Who may speak to the rating page: addresses, the token, other sites; and the headers of every answer.

Knows nothing of ratings.
"""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from urllib.parse import urlsplit

from aiohttp import web

from self_instruct.errors import DataError, SelfInstructError

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
    if foreign or (origin is not None and origin.partition("://")[2] != host):
        return error(403, DataError("this was sent by another site's page", hint="open the link that was printed"))
    if request.method == "POST" and request.content_type != "application/json":
        return error(415, DataError(f"JSON is asked for, not {request.content_type[:60]}"))
    if token is None:
        return None
    # Cookies know no ports: each store has one of its own name. Lax: a link in a mail or a chat is another site's, too.
    cookie = f"self-instruct-rating-{hashlib.sha256(token.encode()).hexdigest()[:8]}"
    if _same(request.cookies.get(cookie, ""), token):
        return None
    if request.path == "/" and _same(request.query.get("token", ""), token):
        entered = web.Response(status=303, headers={"Location": "/"})  # the token isn't left in the browser's history
        entered.set_cookie(cookie, token, httponly=True, samesite="Lax", path="/")
        return entered
    why = DataError("the token is missing or wrong", hint="open the whole link that was printed, with its token")
    return web.Response(status=403, text=f"{why.message}: {why.hint}") if request.path == "/" else error(403, why)


def _same(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode("utf-8", "replace"), other.encode())


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
