"""By which names the service may be asked.

What listens for this machine only is still reached by every page that a browser of this machine shows, once the page's own
domain is made to point here (DNS rebinding). Such a request names that domain as its host, and is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from otto_gpu.serve.errors import problem

LOCAL = ("localhost", "127.0.0.1", "::1")
NO_SUCH_HOST = "the service does not go by this host's name; its option --allow-host adds names"


def names_of(host: str, bound: str, allowed: Iterable[str]) -> frozenset[str] | None:
    """The names that are answered; None: any. host: as it was asked for, bound: its address, allowed: further names."""
    further = [name.lower() for name in allowed]
    local = ip_address(bound.partition("%")[0]).is_loopback
    return frozenset({*LOCAL, host.lower(), *further}) if local or further else None


def only(app, names: frozenset[str] | None):
    """The ASGI application, but for requests by other names, which get 421. HTTP/1.0 may leave the name out."""
    if names is None:
        return app

    async def checked(scope, receive, send):
        if all(_name(value) in names for key, value in scope["headers"] if key == b"host"):
            return await app(scope, receive, send)
        answer = problem(421, NO_SUCH_HOST, headers={"connection": "close"})  # its body is not read
        return await answer(scope, receive, send)

    return checked


def _name(host: bytes) -> str:
    """Of a Host header: without the port, and without the brackets of IPv6."""
    text = host.decode("latin-1").lower()
    return text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0]
