"""The doorbells: rings reach waiting threads, and nobody ever waits for a broker."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from reelmill.dispatch.celery import RING, CeleryDispatcher, open_celery, reach
from reelmill.dispatch.inline import InlineDispatcher
from reelmill.errors import BrokerUnavailable, SettingInvalid
from reelmill.settings import read_settings
from reelmill.wiring import open_dispatcher
from running import free_port


def test_a_ring_from_an_engine_goes_to_a_thread_that_waits_with_its_id() -> None:
    bell, closing = InlineDispatcher(), threading.Event()
    heard: list[str | None] = []
    slot = threading.Thread(target=lambda: heard.append(bell.wait(60)))
    giver = threading.Thread(target=lambda: bell.hand_over("task-1", closing))
    giver.start()
    assert bell.idle == 0 and giver.is_alive(), "nobody waits, so nobody gets it"
    slot.start()
    slot.join(30)
    giver.join(30)
    assert heard == ["task-1"]


def test_handing_over_ends_when_the_process_does() -> None:
    bell, closing = InlineDispatcher(), threading.Event()
    closing.set()
    assert not bell.hand_over("task-1", closing)


def test_rings_are_counted_and_a_wait_without_one_ends() -> None:
    bell = InlineDispatcher()
    bell.ring(2)
    assert bell.idle == -2
    bell.wait(60)
    bell.wait(60)
    assert bell.wait(0) is None


@pytest.mark.req("A-02", "A-03")
def test_a_message_says_the_jobs_id_and_nothing_else(broker_url: str) -> None:
    bell = CeleryDispatcher(broker_url)
    bell.ring(2, job_id="j-1")
    bell.close()
    found = []
    with open_celery(broker_url, sending=True).connection_for_read() as connection:
        queue = connection.SimpleQueue("reelmill.cpu")
        for _ in range(2):
            message = queue.get(timeout=30)
            found.append((message.headers["task"], message.payload[0], message.payload[1]))
            message.ack()
        queue.close()
    assert found == [(RING, ["j-1"], {})] * 2


@pytest.mark.req("E-08")
@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_ringing_a_dead_broker_wakes_who_is_here(scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{free_port()}//"
    bell = CeleryDispatcher(url)
    bell.ring(3, job_id="j-1")
    bell.wait(60)
    assert bell.local.idle == -2, "all three rang here"
    bell.close()
    with pytest.raises(BrokerUnavailable):
        reach(url)


def test_what_can_not_work_together_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid, match="SQLite"):
        open_dispatcher(read_settings(data=tmp_path, broker_url="redis://127.0.0.1:6379/0"))
    with pytest.raises(SettingInvalid, match="REELMILL_BROKER_URL"):
        read_settings(broker_url="http://127.0.0.1")
    with pytest.raises(SettingInvalid, match="REELMILL_QUEUES"):
        read_settings(queues="cpu,G P U")
    assert read_settings(queues="cpu,gpu").queue_names == ("cpu", "gpu")
