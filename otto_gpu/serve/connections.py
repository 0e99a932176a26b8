"""What uvicorn's protocol leaves open: headers that come slowly or never, answers that nobody takes, too many connections,
requests with two ends, and bad HTTP told as every other error."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import h11
import orjson
from uvicorn.protocols.http.h11_impl import H11Protocol

from otto_gpu.serve.errors import RETRY_AFTER, problem

NO_HTTP = "the request is no valid HTTP"
LEAVING, LEAVING_SECONDS = 64, 1.0  # connections that are told to go and may finish what they say, and for how long
VERSIONS = ("1.0", "1.1")


def strict(app):
    """The ASGI application, but for requests that two readers (a proxy and this service) may see end at two places: such a
    request gets 400, and its connection ends. h11 takes any version of HTTP, and chunks beside a length."""

    async def checked(scope, receive, send):
        names = {name for name, _ in scope["headers"]}
        chunks = b"transfer-encoding" in names
        if scope["http_version"] not in VERSIONS or (chunks and (b"content-length" in names or scope["http_version"] == "1.0")):
            answer = problem(400, NO_HTTP, headers={"connection": "close"})
            return await answer(scope, receive, send)
        return await app(scope, receive, send)

    return checked


def protocol(header_seconds: float, answer_seconds: float, most: int) -> type[H11Protocol]:
    """uvicorn's protocol on h11, for which a request's headers must be whole within header_seconds: of the connection, or of
    their first byte. Between two requests uvicorn's own keep-alive time counts; bodies are bodies.py's. An answer must be taken
    within answer_seconds. Of connections beyond `most` each is told to come back, and ends."""

    class Connection(H11Protocol):
        late: asyncio.TimerHandle | None = None
        untaken: asyncio.TimerHandle | None = None
        refused = False

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            if len(self.connections) > most:
                self.refused = True
                again = (b"retry-after", RETRY_AFTER.encode())
                self._tell(503, "too many connections; come back later", again)
                # what came unread at the close would cost the client the answer, so its request is read, if there is room
                if len(self.connections) <= most + LEAVING:
                    self.late = self.loop.call_later(LEAVING_SECONDS, transport.close)
                else:
                    transport.close()
                return None
            return self._wait()

        def data_received(self, data: bytes) -> None:
            if self.refused:
                return self.transport.close()
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._arrived()
            elif self.late is None:
                self._wait()

        def on_response_complete(self) -> None:
            self._arrived()
            self._taken()
            if self.transport.get_write_buffer_size():
                self._offer()
            super().on_response_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._arrived()
            self._taken()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._offer()

        def resume_writing(self) -> None:
            super().resume_writing()
            self._taken()

        def send_400_response(self, msg: str) -> None:
            self._tell(400, NO_HTTP)
            self.transport.close()

        def _tell(self, status: int, error: str, *more: tuple[bytes, bytes]) -> None:
            body = orjson.dumps({"error": error, "where": None})
            own = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
            headers = [*self.server_state.default_headers, *own, *more]
            answer = h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase)
            events = (answer, h11.Data(data=body), h11.EndOfMessage())
            self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))

        def _wait(self) -> None:
            self.late = self.loop.call_later(header_seconds, self.timeout_keep_alive_handler)

        def _arrived(self) -> None:
            if self.late is not None:
                self.late.cancel()
                self.late = None

        def _offer(self) -> None:
            if self.untaken is None:
                self.untaken = self.loop.call_later(answer_seconds, self._give_up)

        def _give_up(self) -> None:
            """What was not taken goes with the connection; close() would keep it for as long as the client likes."""
            self.untaken = None
            if self.transport.get_write_buffer_size():
                self.transport.abort()

        def _taken(self) -> None:
            if self.untaken is not None:
                self.untaken.cancel()
                self.untaken = None

    return Connection
