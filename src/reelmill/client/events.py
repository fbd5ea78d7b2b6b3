"""A job's events as they come over the wire."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event of a job. Those of type `progress` have no seq: they tell the present state."""

    seq: int | None
    type: str
    data: dict[str, Any]


def parse_events(lines: Iterable[str]) -> Iterator[Event]:
    """Yield the events of a text/event-stream (WHATWG HTML, 9.2.6) whose data are JSON objects."""
    seq, kind, data = "", "", ""
    for line in lines:
        if not line:
            if data:
                yield Event(int(seq) if seq else None, kind or "message", json.loads(data))
            seq = kind = data = ""
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "id":
                seq = value
            case "event":
                kind = value
            case "data":
                data = f"{data}\n{value}" if data else value
