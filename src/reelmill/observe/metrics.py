"""The metrics of one process, in a registry of its own, as Prometheus reads them.

What happens in the process is counted as it happens. How things stand on the whole platform is read from the store
when it is asked for; every process would tell the same, so only those with the API do.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from reelmill import __version__
from reelmill.errors import DatabaseUnavailable
from reelmill.jobs.lifecycle import Status
from reelmill.jobs.model import Figures

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.metrics")

STUCK_AFTER_S = 3600.0  #: an upload that wasn't completed for so long counts as stuck
FRESH_S = 5.0  #: figures are good for so long: nobody wears the database out by asking
MOST_FRESH_S = 60.0  #: and for longer where they take long, so that they cost a fiftieth of one connection at most
SHARE = 1 / 50

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  #: of requests and storage
WORK_SECONDS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14_400)
BYTES = tuple(float(1 << power) for power in range(10, 41, 3))  #: 1 KiB … 1 TiB

Values = dict[tuple[str, ...], float]  #: of one gauge, by the values of its labels


@dataclass(frozen=True, slots=True)
class Counted:
    """A counter that the core adds to."""

    about: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """A distribution that the core notes values of."""

    about: str
    buckets: tuple[float, ...]
    labels: tuple[str, ...] = ()


#: By the names that `Observer.count` takes; `reelmill_NAME_total` for Prometheus.
COUNTERS = {
    "jobs_ended": Counted("Jobs that ended; code says why one failed.", ("pipeline", "status", "code")),
    "jobs_queued": Counted("Jobs that were queued, those that are retried too.", ("pipeline",)),
    "leases_lost": Counted("Steps that were taken back from a worker that was silent."),
    "media_cpu_seconds": Counted("Processor time of media programs.", ("program",)),
    "stale_writes": Counted("Writes of a worker that were refused: its step had been given to another."),
    "steps_reused": Counted("Steps that took over what an earlier one had made.", ("pipeline", "kind")),
    "storage_bytes": Counted("Bytes that this process sent to storage or read from it.", ("direction",)),
    "storage_retries": Counted("Requests to storage that were sent again.", ("operation",)),
    "text_model_kept": Counted("Answers of the text model that were kept from before: nothing was asked."),
    "text_model_tokens": Counted("Tokens that the text model told: `read` or `written`.", ("direction",)),
}
#: By the names that `Observer.observe` takes; `reelmill_NAME` for Prometheus.
HISTOGRAMS = {
    "artifact_bytes": Measured("Sizes of the files that were made.", BYTES, ("pipeline", "kind")),
    "http_request_seconds": Measured("Requests to the API.", SECONDS, ("method", "route", "status")),
    "job_seconds": Measured("From queueing to the end of a job.", WORK_SECONDS, ("pipeline", "status")),
    "media_run_seconds": Measured("Runs of media programs.", WORK_SECONDS, ("program", "result")),
    "step_seconds": Measured("Attempts of steps.", WORK_SECONDS, ("pipeline", "kind", "outcome")),
    "step_wait_seconds": Measured("From planning a step to its first claim.", WORK_SECONDS, ("pipeline",)),
    "storage_operation_seconds": Measured("Operations of the object store.", SECONDS, ("operation", "result")),
    "sweep_seconds": Measured("Rounds of the sweeper.", SECONDS),
    "text_model_seconds": Measured("Each request to the text model; result: ok, or a code.", SECONDS, ("result",)),
    "upload_bytes": Measured("Sizes of uploads that were verified.", BYTES),
    "upload_verification_seconds": Measured("Verifications of uploads.", SECONDS, ("result",)),
}  # fmt: skip


class Metrics:
    """The metrics of one platform in this process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._counters = {
            name: Counter(f"reelmill_{name}", one.about, one.labels, registry=self.registry)
            for name, one in COUNTERS.items()
        }
        self._histograms = {
            name: Histogram(f"reelmill_{name}", one.about, one.labels, buckets=one.buckets, registry=self.registry)
            for name, one in HISTOGRAMS.items()
        }
        self._labelled: dict[tuple[Any, ...], Any] = {}
        self.requests = Gauge(
            "reelmill_http_requests_in_flight", "Requests that are being answered.", registry=self.registry
        )
        Gauge("reelmill_info", "Which Reelmill this is.", ("version",), registry=self.registry).labels(
            version=__version__
        ).set(1)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def count(self, name: str, amount: float = 1.0, /, **labels: str) -> None:
        """Add to a counter of `COUNTERS`."""
        child = self._labelled.get((name, *labels.items()))
        (child or self._label(self._counters[name], name, labels)).inc(amount)

    def observe(self, name: str, value: float, /, **labels: str) -> None:
        """Note a value in a histogram of `HISTOGRAMS`."""
        child = self._labelled.get((name, *labels.items()))
        (child or self._label(self._histograms[name], name, labels)).observe(value)

    def _label(self, metric: Any, name: str, labels: Mapping[str, str]) -> Any:
        """Return a metric with its labels, and remember it: to find it again would cost as much as to count."""
        child = metric.labels(**labels) if labels else metric
        self._labelled[(name, *labels.items())] = child
        return child

    def watch(self, collector: Collector) -> None:
        """Ask this collector, too, whenever somebody reads the metrics."""
        self.registry.register(collector)

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """Return all metrics in the format that `accept` asks for, and its content type.

        It may read the store, so it isn't for the event loop.
        """
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


class PlatformFigures(Collector):
    """How things stand on the whole platform. Many askers cause one look at the store."""

    def __init__(self, read: Callable[[], Figures]) -> None:
        self._read = read
        self._guard = threading.Lock()
        self._known: Figures | None = None
        self._good_until = 0.0  #: by the monotonic clock

    def describe(self) -> Iterable[Metric]:
        return ()  # or registering would ask the store

    def collect(self) -> Iterator[Metric]:
        now = self._fresh()
        yield gauge("database_up", "Whether the database answers.", {(): float(now is not None)})
        if now is None:
            return
        jobs: Values = {(pipeline, str(status)): 0.0 for pipeline, _ in now.jobs for status in Status}
        jobs |= {(pipeline, str(status)): float(count) for (pipeline, status), count in now.jobs.items()}
        queues = sorted(now.ready.keys() | now.running.keys() | {"cpu"})
        ready = {queue: now.ready.get(queue) for queue in queues}
        steps: Values = {(queue, "ready"): float(one.count if one else 0) for queue, one in ready.items()}
        steps |= {(queue, "running"): float(now.running.get(queue, 0)) for queue in queues}
        oldest: Values = {(queue,): one.oldest_s if one else 0.0 for queue, one in ready.items()}
        workers: Values = {(state,): float(now.workers.get(state, 0)) for state in ("alive", "draining", "gone")}
        yield gauge("jobs", "Jobs by what they are in.", jobs, ("pipeline", "status"))
        yield gauge("queue_steps", "Steps that could be claimed, or are being worked on.", steps, ("queue", "status"))
        yield gauge("queue_oldest_seconds", "For how long the oldest step could have been claimed.", oldest, ("queue",))
        yield gauge("uploads_awaiting", "Uploads that aren't completed.", {(): now.uploads.count})
        yield gauge("uploads_awaiting_oldest_seconds", "Age of the oldest of them.", {(): now.uploads.oldest_s})
        yield gauge("uploads_stuck", "Uploads not completed for an hour.", {(): now.uploads_stuck})
        yield gauge("spool_files", "Files that wait for the object store.", {(): now.spool.count})
        yield gauge("spool_bytes", "Their size.", {(): now.spool_bytes})
        yield gauge("spool_oldest_seconds", "Age of the oldest of them.", {(): now.spool.oldest_s})
        yield gauge("workers", "Worker processes by what they are.", workers, ("state",))

    def _fresh(self) -> Figures | None:
        """Return figures that are fresh enough; None when the database doesn't answer."""
        with self._guard:
            began = time.monotonic()
            if began >= self._good_until:
                try:
                    self._known = self._read()
                except DatabaseUnavailable as error:
                    log.warning("figures can't be read", code=error.code, detail=error.detail)
                    self._known = None
                ended = time.monotonic()
                self._good_until = ended + min(MOST_FRESH_S, max(FRESH_S, (ended - began) / SHARE))
            return self._known


class ProcessFigures(Collector):
    """What this process has: room on its disks, and slots for steps."""

    def __init__(self, folders: Mapping[str, Path], slots: Callable[[], tuple[int, int]]) -> None:
        """folders: by name; one that isn't there is left out. slots: returns how many there are, and are busy."""
        self._folders = folders
        self._slots = slots

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        rooms = {name: shutil.disk_usage(path) for name, path in self._folders.items() if path.is_dir()}
        free: Values = {(name,): room.free for name, room in rooms.items()}
        size: Values = {(name,): room.total for name, room in rooms.items()}
        yield gauge("disk_free_bytes", "Room on the disk.", free, ("folder",))
        yield gauge("disk_size_bytes", "Its size.", size, ("folder",))
        slots, busy = self._slots()
        yield gauge("worker_slots", "Steps that this process can work on at a time.", {(): slots})
        yield gauge("worker_slots_busy", "Steps that it is working on.", {(): busy})


def gauge(name: str, about: str, values: Values, labels: tuple[str, ...] = ()) -> GaugeMetricFamily:
    """Return one gauge with its values by their labels."""
    family = GaugeMetricFamily(f"reelmill_{name}", about, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
