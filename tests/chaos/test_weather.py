"""What the storms do to the ways is real: a fault that never happens would let every storm pass."""

from __future__ import annotations

import httpx2
import pytest

import servers
from faults import Proxy


@pytest.mark.req("E-05")
def test_a_failing_way_answers_500_and_heals(seaweed: servers.Seaweed) -> None:
    with Proxy(port=seaweed.port) as way, httpx2.Client(base_url=way.url, trust_env=False) as client:
        through = client.get("/").status_code
        assert through < 500
        way.failing = True
        assert client.get("/").status_code == 500
        way.failing = False
        assert client.get("/").status_code == through


@pytest.mark.req("E-05")
def test_a_way_that_is_cut_breaks_what_is_under_way(seaweed: servers.Seaweed) -> None:
    with Proxy(port=seaweed.port) as way, httpx2.Client(base_url=way.url, trust_env=False) as client:
        assert client.get("/").status_code < 500
        assert way.cut_all() == 1
        way.cut_after(1, request=b"GET")
        with pytest.raises(httpx2.TransportError):
            client.get("/")
