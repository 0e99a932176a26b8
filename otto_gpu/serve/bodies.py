"""Bodies of requests: JSON only, of bounded size, whole within a bounded time; nothing is parsed before that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import orjson
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from otto_gpu.serve.errors import Refused
from otto_gpu.serve.limits import Limits

JSON = "application/json"
DRAIN_SECONDS = 2.0  # a body that is refused is read on for so long: many clients look for the answer only after it


class WholeRequest(Request):
    """A request whose body is there already."""

    whole: bytes | bytearray = b""

    async def body(self) -> bytes | bytearray:
        return self.whole

    async def json(self):
        return orjson.loads(self.whole)


class Bodies:
    """Reads bodies; knows how many bytes all those under way hold."""

    def __init__(self, limits: Limits):
        self._limits, self.held = limits, 0

    @asynccontextmanager
    async def of(self, request: Request) -> AsyncIterator[bytearray]:
        """The body, counted as long as the block lasts. Refused where it is no JSON (415), too large (413), late (408), or too
        much is under way (503)."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != JSON:
            await self._drain(request)
            raise Refused(415, f"expected a body of {JSON}, got {kind or 'no content-type'}", "content-type", close=True)
        body = bytearray()
        try:
            await self._read(request, body)
            yield body
        finally:
            self.held -= len(body)

    async def _read(self, request: Request, body: bytearray) -> None:
        limits = self._limits
        try:
            async with asyncio.timeout(limits.body_seconds):
                self._fits(int(request.headers.get("content-length") or 0))
                async for chunk in request.stream():
                    body += chunk
                    self.held += len(chunk)
                    self._fits(len(body))
                    if self.held > limits.waiting_bytes:
                        raise Refused(503, "too many bodies are under way; come back later", close=True)
        except TimeoutError:
            late = f"the body was not there within {limits.body_seconds:g} seconds"
            raise Refused(408, late, "body", close=True) from None
        except ClientDisconnect:
            raise Refused(400, "the client went away", "body", close=True) from None
        except Refused:
            await self._drain(request)
            raise

    def _fits(self, size: int) -> None:
        most = self._limits.body_bytes
        if size > most:
            raise Refused(413, f"the body has more than {most:,} bytes; send several requests", "body", close=True)

    async def _drain(self, request: Request) -> None:
        """Reads on and forgets, up to the end, or for a moment."""
        if "expect" in request.headers:  # the client waits for leave to send the body, and gets none
            return
        left = 8 * self._limits.body_bytes
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while left > 0:
                    message = await request.receive()
                    left -= len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return
        except TimeoutError:
            pass


def json_route(bodies: Bodies) -> type[APIRoute]:
    """Routes whose handlers find a whole body."""

    class JsonRoute(APIRoute):
        def get_route_handler(self) -> Callable:
            handler = super().get_route_handler()

            async def handle(request: Request):
                try:
                    async with bodies.of(request) as body:
                        whole = WholeRequest(request.scope, request.receive)
                        whole.whole = body
                        return await handler(whole)
                except asyncio.CancelledError:  # it is in flight when the time for that is over
                    raise Refused(503, "the service stops; come back later", close=True) from None

            return handle

    return JsonRoute
