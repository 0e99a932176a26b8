"""What one request may ask for, how many may wait, and for how long."""

from __future__ import annotations

import argparse

from pydantic import Field, ValidationError

from otto_gpu.recommend import MOST
from otto_gpu.schema import Section, as_user_error


class Limits(Section):
    """Every field is an option of the command line: body_bytes is --body-bytes."""

    body_bytes: int = Field(4 << 20, ge=1 << 10, description="bytes of a request's body")
    sessions: int = Field(1000, ge=1, description="sessions of a request")
    session_events: int = Field(1000, ge=1, description="events of a session")
    events: int = Field(50_000, ge=1, description="events of a request")
    k: int = Field(100, ge=1, le=MOST, description="items of a list")
    connections: int = Field(1000, ge=1, description="open connections, as far as the system has files for them")
    waiting: int = Field(256, ge=1, description="requests that may wait; further ones are told to come back (503)")
    waiting_events: int = Field(500_000, ge=1, description="events of all requests that wait")
    waiting_bytes: int = Field(64 << 20, ge=1 << 10, description="bytes of all bodies that are under way")
    batch_sessions: int = Field(256, ge=1, description="sessions of waiting requests that are answered by one call")
    header_seconds: float = Field(10, gt=0, description="seconds within which a request's headers must have come")
    body_seconds: float = Field(10, gt=0, description="seconds within which a request's body must have come")
    answer_seconds: float = Field(30, gt=0, description="seconds within which a client must take what it asked for")
    wait_seconds: float = Field(30, gt=0, description="seconds after which a request that still waits is told to come back")
    stop_seconds: float = Field(10, gt=0, description="seconds that requests in flight have when the service stops")

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("limits")
        for name, field in cls.model_fields.items():
            group.add_argument(
                f"--{name.replace('_', '-')}", type=field.annotation, default=field.default, metavar="N",
                help=f"{field.description} (default: %(default)s)",
            )  # fmt: skip

    @classmethod
    def of(cls, given: argparse.Namespace) -> Limits:
        """UserError for a value out of its range."""
        try:
            return cls(**{name: getattr(given, name) for name in cls.model_fields})
        except ValidationError as error:
            raise as_user_error(error, cls, "limits") from None
