"""What the client makes of what comes over the wire."""

from __future__ import annotations

from pathlib import Path

import pytest

from reelmill.cli.options import is_loopback, local_key
from reelmill.client import Client, Event, content_type_of, parse_events
from reelmill.errors import ServerUnreachable
from running import free_port


def test_events_are_read_as_the_standard_says() -> None:
    stream = [
        "retry: 2000", "", ": keep-alive", "",
        "id: 4", "event: step.done", 'data: {"a":', "data: 1}", "",
        "event:progress", "data:{}", "", "id: 5", "",
    ]  # fmt: skip

    assert list(parse_events(stream)) == [Event(4, "step.done", {"a": 1}), Event(None, "progress", {})]


def test_an_event_that_was_cut_off_is_left_out() -> None:
    assert list(parse_events(["id: 1", "event: x", 'data: {"whole": true}'])) == []


def test_no_server_is_said_to_be_unreachable(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url) as client:
        with pytest.raises(ServerUnreachable, match=url):
            client.status("x")
        with pytest.raises(ServerUnreachable, match=url):
            next(client.events("x"))
        with pytest.raises(ServerUnreachable):
            client.download(f"{url}/objects/x?signature=secret", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_signature_isnt_in_the_message(tmp_path: Path) -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(ServerUnreachable) as raised:
        client.download("http://127.0.0.1:1/objects/x?signature=secret", tmp_path / "x")

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["localhost:8000", "nonsense", "http://"])
def test_an_address_that_is_none(url: str) -> None:
    with Client(url) as client, pytest.raises(ServerUnreachable):
        client.status("x")


def test_media_types() -> None:
    assert content_type_of(Path("a.mp4")) == "video/mp4"
    assert content_type_of(Path("a")) == "application/octet-stream"
    assert content_type_of(Path("a.tar.gz")) == "application/octet-stream"


def test_the_local_key_is_only_for_this_machine(tmp_path: Path) -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("10.0.0.1", "example.org", "")] == [False] * 3
    assert local_key(tmp_path) is None
    (tmp_path / "cli.key").write_text("rm_x\n")
    assert local_key(tmp_path) == "rm_x"
