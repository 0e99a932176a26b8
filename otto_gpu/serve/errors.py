"""What a client is told when something is wrong: one shape for every status, never a traceback.

{"error": one line, "where": the place in the request, or null}
"""

from __future__ import annotations

from http import HTTPStatus

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from otto_gpu.serve.messages import MANY, ONE

RETRY_AFTER = "1"  # seconds


class Problem(BaseModel):
    model_config = ConfigDict(extra="forbid")

    error: str = Field(description="what is wrong, in one line")
    where: str | None = Field(description="the place in the request, such as sessions[2].events[0].type")


class Refused(HTTPException):
    """A request that is not answered. close: the rest of it is not read, so the connection ends."""

    def __init__(self, status: int, error: str, where: str | None = None, close: bool = False):
        headers = {"retry-after": RETRY_AFTER} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
        super().__init__(status, error, headers | ({"connection": "close"} if close else {}))
        self.where = where


def problem(status: int, error: str, where: str | None = None, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps({"error": error, "where": where}), status, headers, "application/json")


def documented(*statuses: int) -> dict[int, dict]:
    """For OpenAPI: what else than 200 a path answers."""
    return {int(status): {"model": Problem, "description": HTTPStatus(status).phrase} for status in statuses}


def install(app: FastAPI) -> None:
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _failed)


async def _http(request: Request, error: HTTPException) -> Response:
    said = {404: f"there is nothing at {request.url.path}", 405: f"{request.url.path} does not take {request.method}"}
    text = error.detail if isinstance(error, Refused) else said.get(error.status_code, error.detail)
    return problem(error.status_code, text, getattr(error, "where", None), error.headers)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    errors = error.errors()
    # an unknown key goes first: a misspelled one is often missing under its right name as well
    first = min(errors, key=lambda e: e["type"] != "extra_forbidden")
    if first["type"] == "json_invalid":
        return problem(400, "the body is no JSON", "body")
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    said = {"extra_forbidden": "unknown key", "model_attributes_type": "expected an object with keys"}
    message = said.get(first["type"], first["msg"].removeprefix("Value error, "))
    where = place(first["loc"])
    return problem(422, f"{where}: {message[:1].lower()}{message[1:]}{more}", where)


async def _failed(request: Request, error: Exception) -> Response:
    return problem(500, "the service failed on this request; its log says why")


def place(loc: tuple) -> str:
    """('body', 'sessions', 2, 'events', 0, 'aid') -> sessions[2].events[0].aid"""
    text = ""
    for part in (p for p in loc[1:] if p not in (ONE, MANY)):
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or str(loc[0])
