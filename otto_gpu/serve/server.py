"""uvicorn, as this service needs it: a socket of its own, late headers, a stop that answers what is in flight, exit code 0."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

try:
    import resource
except ImportError:  # not on Windows
    resource = None

from otto_gpu.errors import UserError
from otto_gpu.serve.connections import protocol, strict
from otto_gpu.serve.limits import Limits

BACKLOG = 2048  # connections that the system keeps until they are accepted
AT_ONCE = 16  # that are accepted in a row; where the process may open no more files, asyncio logs as many tracebacks
OTHER_FILES = 128  # that are no connections, or ones that are refused and not yet closed
# of every answer: a browser loads nothing from elsewhere, keeps nothing, and lets no other page embed this one
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
]
READ_SECONDS = 0.2  # at the end, in which the requests of open connections may be read that are on their way
IDLE_SECONDS = 30  # a connection may stay open between two requests


def bound_socket(host: str, port: int) -> socket.socket:
    """Bound, not yet listening. UserError where the address is taken or not this machine's."""
    if not 0 <= port < 1 << 16:
        raise UserError(f"--port must be between 0 and 65535, got {port}")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        made = socket.socket(*found[0][:3])
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(found[0][4])
    except OSError as error:
        raise _unusable(host, port, error) from None
    return made


def _unusable(host: str, port: int, error: Exception) -> UserError:
    why = {errno.EADDRINUSE: "something listens there already; choose another --port, or 0 for any that is free"}
    return UserError(f"{host}:{port}: {why.get(getattr(error, 'errno', None), getattr(error, 'strerror', None) or error)}")


def address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if listening.family == socket.AF_INET6 else f"http://{host}:{port}"


def serve(app, listening: socket.socket, limits: Limits, ready: Callable[[], None], stopping: Callable[[], None]) -> None:
    """Until SIGTERM or SIGINT; then no new connections, and what is in flight is answered, if it takes no longer than
    limits.stop_seconds. ready, stopping: called when it listens, and when it is to stop."""
    try:
        listening.listen(BACKLOG)
    except OSError as error:
        raise _unusable(*listening.getsockname()[:2], error) from None
    http = protocol(limits.header_seconds, limits.answer_seconds, most_connections(limits.connections))
    config = uvicorn.Config(
        strict(app), http=http, loop="asyncio", ws="none", lifespan="off", log_level="warning",
        access_log=False, server_header=False, headers=HEADERS, proxy_headers=False, timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=limits.stop_seconds, backlog=AT_ONCE,
    )  # fmt: skip

    def listens() -> None:
        listening.listen(BACKLOG)  # asyncio set it to what it accepts in a row
        ready()

    server = _Server(config, listens, stopping)
    asyncio.run(server.serve(sockets=[listening]))


def most_connections(asked: int) -> int:
    """As many as are asked for, or as the process may have files open for. A service without files answers nobody."""
    if resource is None:
        return asked
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = asked + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(min(asked, soft - OTHER_FILES), 1)
    return asked


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], stopping: Callable[[], None]):
        super().__init__(config)
        self._ready, self._stopping = ready, stopping

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but for raising the signal once more at the end: to be asked to stop is no failure."""
        before = {s: signal.signal(s, self.handle_exit) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets=None) -> None:
        await super().startup(sockets=sockets)
        self._ready()

    async def shutdown(self, sockets=None) -> None:
        """As uvicorn's, but for requests that have been sent and not been read: whoever was let in is answered."""
        self._stopping()
        let_in = [connection for listening in sockets or [] for connection in _let_in(listening)]
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for connection in let_in:
            await loop.connect_accepted_socket(self._protocol, connection)
        await asyncio.sleep(READ_SECONDS)
        await super().shutdown(sockets=sockets)

    def _protocol(self) -> asyncio.Protocol:
        made = self.config.http_protocol_class
        return made(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)


def _let_in(listening: socket.socket) -> Iterator[socket.socket]:
    """The connections that the system has already taken, which closing the socket would cut off."""
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:  # there is none, or no file for it
            return
        connection.setblocking(False)
        yield connection
