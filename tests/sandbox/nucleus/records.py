"""What the IPC test server saw, in order, and waiting for it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

JsonObject: TypeAlias = dict[str, Any]
"""A JSON document: any shape below its keys."""

_SHOWN_RECORDS = 40
"""How many of the newest records a time-out lists: enough to see what happened instead."""


@dataclass(frozen=True, slots=True)
class StateReport:
    """A component said its lifecycle state: an UpdateState that the nucleus took."""

    component: str
    state: str
    at_seconds: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class PublishedMessage:
    """A message that the nucleus took from a component.

    `payload` is the JSON value of a local JSON message, bytes otherwise; `json()` reads either.
    `qos` is None for local messages.
    """

    component: str
    topic: str
    payload: bytes | JsonObject
    kind: Literal["json", "binary"]
    destination: Literal["local", "iotcore"]
    qos: int | None = None
    at_seconds: float = field(default_factory=time.monotonic)

    def json(self) -> JsonObject:
        """The message as a JSON document. Raises ValueError when it is none."""
        if not isinstance(self.payload, bytes):
            return self.payload
        document = json.loads(self.payload)
        if not isinstance(document, dict):
            raise TypeError(f"the message on {self.topic} is not a JSON object")
        return document


@dataclass(frozen=True, slots=True)
class Call:
    """A handled request, recorded after its effect: the Call of a subscription says it is active.

    `operation` is the short name, such as "PublishToTopic". `error` is the name of the error that
    was answered, such as "UnauthorizedError", or "muted" when nothing was; None for success.
    """

    component: str
    operation: str
    request: JsonObject
    error: str | None = None
    at_seconds: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class ConnectionEvent:
    """A connection was accepted, refused or closed. `component` is empty if it was never known."""

    component: str
    event: Literal["connected", "refused", "closed"]
    reason: str = ""
    at_seconds: float = field(default_factory=time.monotonic)


Record: TypeAlias = StateReport | PublishedMessage | Call | ConnectionEvent
RecordT = TypeVar("RecordT", StateReport, PublishedMessage, Call, ConnectionEvent)


class Timeline:
    """Records in the order of their happening; any thread may add, read and wait."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._added = threading.Condition()

    def add(self, record: Record) -> None:
        with self._added:
            self._records.append(record)
            self._added.notify_all()

    def all(self) -> list[Record]:
        with self._added:
            return list(self._records)

    def of(self, kind: type[RecordT]) -> list[RecordT]:
        return [record for record in self.all() if isinstance(record, kind)]

    def wait_for(
        self,
        kind: type[RecordT],
        predicate: Callable[[RecordT], bool],
        *,
        timeout_seconds: float,
        count: int,
    ) -> RecordT:
        """The `count`-th record of that kind for which `predicate` holds, past ones included.
        Raises TimeoutError.
        """
        deadline = time.monotonic() + timeout_seconds
        seen = matches = 0
        while True:
            with self._added:
                while len(self._records) == seen and time.monotonic() < deadline:
                    self._added.wait(deadline - time.monotonic())
                fresh = self._records[seen:]
            for record in fresh:
                if isinstance(record, kind) and predicate(record):
                    matches += 1
                    if matches == count:
                        return record
            seen += len(fresh)
            if time.monotonic() >= deadline:
                raise TimeoutError(self._describe(kind.__name__, matches, timeout_seconds))

    def _describe(self, kind: str, matches: int, timeout_seconds: float) -> str:
        records = self.all()
        shown = "".join(f"\n  {record}" for record in records[-_SHOWN_RECORDS:])
        return (
            f"no such {kind} within {timeout_seconds} s ({matches} matched)."
            f" Seen {len(records)} records, the newest last:{shown or ' nothing'}"
        )
