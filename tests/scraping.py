"""Metrics as Prometheus reads them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


def samples(text: str) -> list[Sample]:
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def value(text: str, name: str, **labels: str) -> float:
    """Return the sum of the samples with this name that have these labels."""
    found = [one for one in samples(text) if one.name == name and labels.items() <= one.labels.items()]
    return sum(one.value for one in found)


def until(read: Callable[[], str], name: str, least: float, seconds: float = 60, **labels: str) -> float:
    """Read the metrics until one has come up to a value; return it."""
    for text in _again(read, seconds):
        if (seen := value(text, name, **labels)) >= least:
            return seen
    raise AssertionError(f"{name}{labels} stayed below {least}:\n{text}")


def _again(read: Callable[[], str], seconds: float) -> Iterator[str]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield read()
        time.sleep(0.1)
