"""The doorbell for many machines: a Celery message for each ring, sent by the task's name.

The message says one thing, the job's id, and that only for logs: whoever gets it claims by policy from the store. So it
is acknowledged before any work, its result is nobody's, and a broker that loses or doubles it changes nothing.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import structlog
from celery import Celery
from kombu.entity import Queue
from kombu.exceptions import KombuError

from reelmill.dispatch.inline import InlineDispatcher
from reelmill.errors import BrokerUnavailable

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.dispatch")

RING = "reelmill.ring"  #: the one task
QUEUES = ("cpu", "gpu", "io", "llm")
SOCKET_S = 2.0  #: what one attempt to reach the broker may take
MOST = 1000  #: rings that wait to be sent; what is beyond is rung by the sweeper


def queue_name(name: str) -> str:
    """Return a queue's name at the broker."""
    return f"reelmill.{name}"


def open_celery(url: str, *, sending: bool) -> Celery:
    """Return Celery for this broker, without a connection yet.

    sending: give up at once when the broker doesn't answer. One that listens goes on for ever.
    """
    app = Celery("reelmill", broker=url, set_as_current=False)
    app.conf.update(
        task_acks_late=False,  # the step's lease in the store brings work back, not the broker
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_serializer="json",
        accept_content=["json"],
        task_queues=[Queue(queue_name(name), routing_key=queue_name(name)) for name in QUEUES],
        task_default_queue=queue_name(QUEUES[0]),
        task_create_missing_queues=True,
        task_publish_retry=False,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=SOCKET_S,
        broker_transport_options=_transport_options(url, sending=sending),
    )
    return app


def _transport_options(url: str, *, sending: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"max_retries": 0, "interval_start": 0, "interval_step": 0} if sending else {}
    if urlsplit(url).scheme.startswith("redis"):
        options |= {"socket_connect_timeout": SOCKET_S, "socket_keepalive": True}
        if sending:
            options["socket_timeout"] = SOCKET_S
    return options


def reach(url: str) -> str:
    """See that the broker answers; return what it is. Raises BrokerUnavailable."""
    app = open_celery(url, sending=True)
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=SOCKET_S)
            connection.default_channel.queue_declare(
                queue_name("probe"), passive=False, durable=False, auto_delete=True
            )
            return f"{connection.transport.driver_name} {connection.transport.driver_version()}"
    except _errors(app) as error:
        raise BrokerUnavailable(f"{shown(url)} doesn't answer: {str(error) or type(error).__name__}.") from error
    finally:
        app.close()


def shown(url: str) -> str:
    """Return a broker's address without its password."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"


def _errors(app: Celery) -> tuple[type[Exception], ...]:
    """Return what is raised when a broker can't be reached or doesn't play along; its client's own errors, too."""
    connection = app.connection_for_write()
    return (KombuError, OSError, *connection.connection_errors, *connection.channel_errors)


class CeleryDispatcher:
    """Dispatcher over a broker. `ring` only notes it; a thread of its own sends, so that nobody waits for a broker."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.local = InlineDispatcher()  #: wakes the workers of this process
        self._celery = open_celery(url, sending=True)
        self._unsent: queue.Queue[tuple[str, int, str] | None] = queue.Queue(MOST)
        self._guard = threading.Lock()
        self._sender: threading.Thread | None = None
        self._is_down = False

    def ring(self, count: int = 1, *, job_id: str = "", queue: str = "cpu") -> None:
        self._start()
        self._put((job_id, count, queue))

    def wait(self, timeout_s: float) -> str | None:
        return self.local.wait(timeout_s)

    def wake(self, count: int) -> None:
        self.local.wake(count)

    def close(self) -> None:
        with self._guard:
            sender = self._sender
        if sender is not None:
            self._put(None)
            sender.join(SOCKET_S)
        self._celery.close()

    def _start(self) -> None:
        with self._guard:
            if self._sender is None:  # only now: most commands never ring
                self._sender = threading.Thread(target=self._send_on, name="bell", daemon=True)
                self._sender.start()

    def _put(self, what: tuple[str, int, str] | None) -> None:
        try:
            self._unsent.put_nowait(what)
        except queue.Full:
            log.debug("ring dropped")  # the sweeper rings again

    def _send_on(self) -> None:
        errors = _errors(self._celery)
        while (wanted := self._unsent.get()) is not None:
            job_id, count, name = wanted
            try:
                for _ in range(count):
                    self._celery.send_task(RING, args=[job_id], queue=queue_name(name), ignore_result=True, retry=False)
            except errors as error:
                self._failed(error)
                self.local.ring(count)  # at least those who are here
            except Exception:  # whatever it is, the next ring is tried again
                log.exception("ring failed")
                self.local.ring(count)
            else:
                if self._is_down:
                    self._is_down = False
                    log.info("the broker answers again", broker=shown(self.url))

    def _failed(self, error: BaseException) -> None:
        if not self._is_down:  # once, not for each ring
            self._is_down = True
            log.warning(
                "the broker doesn't answer; workers look by themselves",
                broker=shown(self.url),
                code=BrokerUnavailable.code,
                detail=str(error) or type(error).__name__,
            )
        time.sleep(0.2)  # rings that come in a burst fail together, not one by one for minutes
        try:
            while True:
                if self._unsent.get_nowait() is None:
                    self._unsent.put_nowait(None)
                    return
        except queue.Empty:
            return
