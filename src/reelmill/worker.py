"""Celery's side of a worker: its one task, which wakes a slot of this process.

A Celery worker runs in a thread beside the slots. It does no work: for each message it hands a ring to a slot that
waits for one, and the slot claims from the store. While all slots are busy no message is taken, for a ring that a busy
worker held would not reach an idle one.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Any

import structlog
from celery import Celery, bootsteps
from celery.worker import WorkController, state

from reelmill.dispatch.celery import QUEUES, RING, CeleryDispatcher, open_celery, queue_name
from reelmill.dispatch.inline import InlineDispatcher

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.worker")

AGAIN_S = 5.0  #: seconds until a Celery worker that ended is started again
STOP_S = 10.0


class Listener:
    """Brings the broker's rings to the slots of this process. One in a process: Celery keeps its state globally."""

    def __init__(self, dispatcher: CeleryDispatcher, queues: tuple[str, ...] | None = None) -> None:
        self._bell = dispatcher.local
        self._queues = [queue_name(name) for name in queues or QUEUES]
        self._closing = threading.Event()
        self._nudge = _Nudge()
        self._celery = open_celery(dispatcher.url, sending=False)
        self._celery.steps["consumer"].add(_gate(self._bell, self._nudge))
        _add_task(self._celery, self._bell, self._closing)
        self._thread = threading.Thread(target=self._listen_on, name="listener", daemon=True)

    def start(self) -> None:
        state.should_stop = None
        self._bell.on_idle = self._nudge.give
        self._thread.start()

    def stop(self) -> None:
        """Take no more messages; those that nobody took yet stay at the broker."""
        self._closing.set()
        state.should_stop = os.EX_OK
        self._nudge.give()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def alive(self) -> bool:
        return self._thread.is_alive()

    def _listen_on(self) -> None:
        while not self._closing.is_set():
            controller = WorkController(
                app=self._celery,
                hostname=f"reelmill-{os.getpid()}@%h",
                pool="threads",
                concurrency=1,
                queues=self._queues,
                without_heartbeat=True,
                without_mingle=True,
                without_gossip=True,
            )
            try:
                controller.start()  # until it is told to stop; it connects again by itself
            except Exception:  # the slots go on looking by themselves
                log.exception("listening failed")
            if not self._closing.wait(AGAIN_S):
                log.warning("listening begins anew")


def _add_task(celery: Celery, bell: InlineDispatcher, closing: threading.Event) -> None:
    @celery.task(name=RING, bind=True, ignore_result=True)  # type: ignore[untyped-decorator]
    def ring(task: Any, job_id: str) -> None:
        """Wake a slot. The job is only a hint: the slot claims what comes first."""
        log.debug("rung", job_id=job_id, engine_task_id=task.request.id)
        bell.hand_over(task.request.id, closing)


def _gate(bell: InlineDispatcher, nudge: _Nudge) -> type[bootsteps.StartStopStep]:
    """Return a part of Celery's consumer that takes a message only while a slot waits for one."""

    class Gate(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, consumer: Any) -> None:
            if consumer.hub is not None:
                consumer.hub.add_reader(nudge.reader, nudge.take)
            if consumer.connection.transport.driver_type != "redis":
                return  # AMQP pushes messages: at most one is held here, and the sweeper rings again
            # As Celery's own worker_disable_prefetch does it, by the slots instead of the pool.
            quality = consumer.task_consumer.channel.qos
            may_consume = quality.can_consume
            quality.can_consume = lambda: bell.idle > len(state.reserved_requests) and may_consume()

    return Gate


class _Nudge:
    """Wakes Celery's event loop, which sleeps up to a second, from another thread."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()
        for end in (self.reader, self._writer):
            os.set_blocking(end, False)

    def give(self) -> None:
        with suppress(BlockingIOError):  # it is full of nudges
            os.write(self._writer, b".")

    def take(self) -> None:
        with suppress(BlockingIOError):
            os.read(self.reader, 4096)
