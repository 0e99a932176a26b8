"""The paths of the service. Annotations are values here (no `from __future__`): some models are made for the run."""

import time
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import orjson
import pyarrow as pa
from fastapi import APIRouter, Body, FastAPI, Query
from fastapi.responses import Response

from otto_gpu import __version__
from otto_gpu.errors import UserError
from otto_gpu.explain import explain, reasons
from otto_gpu.recommend import Recommender
from otto_gpu.serve import errors
from otto_gpu.serve.bodies import JSON, Bodies, json_route
from otto_gpu.serve.docs import docs_page
from otto_gpu.serve.errors import Refused, documented
from otto_gpu.serve.examples import load_examples
from otto_gpu.serve.limits import Limits
from otto_gpu.serve.messages import (
    Explanation,
    Health,
    Lists,
    ListsOfSessions,
    Messages,
    Reasons,
    columns_of,
    messages_of,
    told_unit,
)
from otto_gpu.serve.worker import Answer, Busy, Events, Worker

EXAMPLES = 100  # that are kept
STATIC = {"page.css": "text/css", "page.js": "text/javascript", "docs.css": "text/css"}
ASKING = (400, 408, 413, 415, 422, 500, 503)


@dataclass
class Service:
    """What the paths share."""

    recommender: Recommender
    run_dir: Path
    limits: Limits
    worker: Worker
    began: float = field(default_factory=time.monotonic)
    stopping: bool = False

    @cached_property
    def messages(self) -> Messages:
        config = self.recommender.config
        return messages_of(config.events, config.targets, self.limits, config.targets.k)

    @cached_property
    def examples(self) -> list[dict]:
        return load_examples(self.run_dir, self.recommender.config.events, EXAMPLES)

    @property
    def ready(self) -> bool:
        return self.worker.alive and not self.stopping

    def stop(self) -> None:
        self.stopping = True

    def warm_up(self) -> None:
        """Compiles what is compiled on first use, by an example session."""
        sessions = [example["events"] for example in self.examples[:2]]
        for events in (*sessions, []):
            self.recommender.recommend(events)
        if sessions:
            reasons(self.recommender, sessions[0])

    def health(self) -> dict:
        config = self.recommender.config
        return {
            "ready": self.ready, "run": config.name, "version": __version__, "device": self.recommender.device.kind,
            "uptime_seconds": round(time.monotonic() - self.began, 3), "targets": config.targets.names,
            "types": config.targets.types, "ts_unit": told_unit(config.events), "k": config.targets.k,
            "items": len(self.recommender.items), "waiting": self.worker.waiting, "limits": self.limits.model_dump(),
        }  # fmt: skip

    async def ask(self, waiting):
        """What the worker answers; its refusals as the client is told of them."""
        try:
            return await waiting
        except UserError as error:
            raise Refused(422, str(error), "body") from None
        except Busy:
            raise Refused(503, "too many requests wait; come back later") from None


def application(service: Service) -> FastAPI:
    app = FastAPI(
        title="otto_gpu", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False,
        summary="Ranked lists of items for open sessions, from a finished run.",
    )  # fmt: skip
    errors.install(app)
    app.include_router(_asking(service))
    app.include_router(_looking(service))
    app.include_router(_pages(app))
    return app


def _asking(service: Service) -> APIRouter:
    router = APIRouter(route_class=json_route(Bodies(service.limits)), responses=documented(*ASKING))
    messages, recommender, worker = service.messages, service.recommender, service.worker

    @router.post("/recommend", response_model=Lists | ListsOfSessions)
    async def recommend(asked: Annotated[messages.recommend, Body()]):
        """The lists of one session, by its events, or of many."""
        if not hasattr(asked, "sessions"):
            answers = await service.ask(worker.recommend(_bounded(service, [asked.events]), asked.k))
            return _json(_told(answers[0]))
        events = _bounded(service, [session.events for session in asked.sessions])
        answers = await service.ask(worker.recommend(events, asked.k)) if events.sessions else []
        told = [{"session": s.session} | _told(a) for s, a in zip(asked.sessions, answers, strict=True)]
        return _json({"sessions": told})

    @router.post("/reasons", response_model=Reasons)
    async def with_reasons(asked: messages.reasons):
        """The lists of one session, each item with the sources that named it and the items of the history that brought it."""
        events = _bounded(service, [asked.events])
        return _json(await service.ask(worker.call(lambda: _with_reasons(recommender, events, asked.k), len(events))))

    @router.post("/explain", response_model=Explanation, responses=documented(404))
    async def why(asked: messages.explain):
        """Why an item stands where it stands in the lists of one session: sources, and the features that moved its score."""
        events = _bounded(service, [asked.events])
        call = worker.call(lambda: _explained(recommender, events, asked.aid, asked.target), len(events))
        found = await service.ask(call)
        if found is None:
            raise Refused(404, f"the run does not know the item {asked.aid!r}", "aid")
        return _json(found)

    return router


def _looking(service: Service) -> APIRouter:
    router = APIRouter(responses=documented(500))

    @router.get("/health", response_model=Health, responses={503: {"model": Health, "description": "Stopping"}})
    async def health():
        """Whether the service answers, for which run, and within which limits."""
        return _json(service.health(), 200 if service.ready else 503)

    @router.get("/examples", response_model=service.messages.examples, responses=documented(422))
    async def examples(n: Annotated[int, Query(ge=1, le=EXAMPLES)] = 20):
        """Histories of the run's test period, spread over it."""
        found = service.examples
        step = max(len(found) / n, 1)
        return _json({"sessions": [found[int(i * step)] for i in range(min(n, len(found)))]})

    return router


def _pages(app: FastAPI) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    made: dict[str, bytes] = {}  # the document is whole only when all paths are there

    @router.get("/docs")
    async def docs():
        if "docs" not in made:
            made["docs"] = docs_page(app.openapi()).encode()
        return Response(made["docs"], media_type="text/html")

    router.add_api_route("/", _file("page.html", "text/html"), name="page")
    for name, kind in STATIC.items():
        router.add_api_route(f"/static/{name}", _file(name, kind), name=name)
    return router


def _file(name: str, kind: str):
    content = _static(name)

    async def file():
        return Response(content, media_type=kind)

    return file


def _static(name: str) -> bytes:
    return (files("otto_gpu.serve") / "static" / name).read_bytes()


def _bounded(service: Service, sessions: list[list]):
    most, found = service.limits.events, sum(map(len, sessions))
    if found > most:
        raise Refused(422, f"the request has {found:,} events, more than {most:,}; send several requests", "sessions")
    return columns_of(sessions, service.recommender.config.events)


def _with_reasons(recommender: Recommender, events: Events, k: int) -> dict:
    why = reasons(recommender, _of_one(events), k)
    lists = {target: [item["aid"] for item in items] for target, items in why.items()}
    unknown = int((recommender.reader.places(events.items()) < 0).sum()) if len(events) else 0
    return _told(Answer(lists, unknown == len(events), unknown)) | {"reasons": why}


def _explained(recommender: Recommender, events: Events, aid: int | str, target: str | None) -> dict | None:
    known = recommender.reader.places(pa.array([aid]))[0] >= 0
    return explain(recommender, _of_one(events), aid, target) if known else None


def _of_one(events: Events):
    """As recommend takes them: one session, also where it has no events."""
    return events.table() if len(events) else []


def _told(answer: Answer) -> dict:
    return {"lists": answer.lists, "cold": answer.cold, "unknown_items": answer.unknown_items}


def _json(answer: dict, status: int = 200) -> Response:
    """The models are for the document; the tests hold answers to them."""
    return Response(orjson.dumps(answer), status, media_type=JSON)
