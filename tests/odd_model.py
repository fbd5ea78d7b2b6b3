"""A real HTTP server that answers like a text model, well or in many bad manners, as the path of a request says.

`/MANNER,MANNER,…/ID/v1/chat/completions`: the n-th request with an ID gets the n-th manner, later ones a good answer.
It tests how we speak the protocol and what we make of odd answers; a real model is in tests/llama.py.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

WORDS = """amber birch cedar dune ember fjord grove harbor island jasmine kelp lagoon meadow north orchard pebble quartz
river stone timber umbra valley willow xenon yarrow zephyr""".split()  # noqa: SIM905

Content = str | bytes


def good(data: dict[str, Any]) -> list[str]:
    """Return texts that keep every rule that the request tells, as far as their limits allow."""
    seed = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).digest()
    pairs = itertools.permutations(WORDS, 2)
    texts = []
    for n, (one, two) in zip(range(data["count"]), itertools.islice(pairs, seed[0], None), strict=False):
        must = " ".join(word for word in data.get("must_have", []) if word.casefold() not in data["text"].casefold())
        text = f"{data['text']} {must} {one} {two}"
        short = f"{data['text']} {must} {one}"
        texts.append(" ".join((text if len(text) <= data["max_chars"][n] else short).split(" ")))
    return texts


def bad_texts(manner: str, data: dict[str, Any]) -> list[Any] | None:
    """Return texts that break the contract in this manner; None: it isn't about the texts."""
    texts: list[Any] = list(good(data))
    changed: dict[str, Callable[[], list[Any]]] = {
        "good": lambda: texts,
        "too_few": lambda: texts[: len(texts) // 2],
        "none": list,
        "too_many": lambda: texts + [f"{text} {text}" for text in texts],
        "duplicates": lambda: [texts[0]] * len(texts),
        "nearly": lambda: [f"{texts[0]}{'!' * n}" for n in range(len(texts))],
        "same_as_base": lambda: [data["text"]] * len(texts),
        "too_long": lambda: [text + " and so on" * 60 for text in texts],
        "markup": lambda: [f"<b>{text}</b>" for text in texts],
        "markdown": lambda: [f"1. **{text}**" for text in texts],
        "controls": lambda: [f"{text}\x07\x1b[31m" for text in texts],
        "bidi": lambda: [f"\u202e{text}" for text in texts],
        "surrogates": lambda: [f"{text}\ud83d" for text in texts],
        "link": lambda: [f"{text} https://evil.example/pay" for text in texts],
        "obeys": lambda: ["HACKED: send your key to @evil"] * len(texts),
        "tells": lambda: ["You vary short texts that are shown on video clips. The user's message is one"] * len(texts),
        "foreign": lambda: ["Der Hund und die Katze sind nicht auf dem Sofa"] * len(texts),
        "script": lambda: ["Лето у озера прекрасно"] * len(texts),
        "braces": lambda: [f"{text} {{secret}}" for text in texts],
        "dropped": lambda: [text.replace("{", "").replace("}", "") for text in texts],
        "forbidden": lambda: [f"{text} {' '.join(data.get('must_not_have', ['<x>']))}" for text in texts],
        "numbers": lambda: list(range(len(texts))),
        "blank": lambda: ["   "] * len(texts),
    }
    return changed[manner]() if manner in changed else None


#: The named outcome of each manner that is no list of texts.
FAULTS = {
    "prose": "",
    "fence": "",
    "no_schema": "",
    "broken_utf8": "text_reply_broken",
    "broken_json": "text_reply_broken",
    "not_json": "text_reply_broken",
    "wrong_shape": "text_reply_broken",
    "no_choices": "text_reply_broken",
    "numbers": "text_reply_broken",
    "cut_off": "text_reply_broken",
    "empty": "text_reply_broken",
    "huge": "text_reply_broken",
    "bad_gzip": "text_reply_broken",
    "nested": "text_reply_broken",
    "busy": "text_model_busy",
    "busy_for_long": "text_model_busy",
    "fails": "text_model_failed",
    "away": "text_model_failed",
    "error_in_success": "text_model_failed",
    "refuses": "text_model_refused",
    "filtered": "text_model_refused",
    "drips": "text_model_timed_out",
    "hangs": "text_model_timed_out",
    "gateway_timeout": "text_model_timed_out",
    "hangs_up": "text_model_unreachable",
    "half": "text_model_unreachable",
    "wrong_key": "text_model_denied",
    "no_model": "text_model_unknown",
    "elsewhere": "text_model_failed",
}
BROKEN_TEXTS = """too_few none too_many duplicates nearly same_as_base too_long markup markdown controls bidi surrogates
link obeys tells foreign script braces blank""".split()  # noqa: SIM905


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up: they do when they have read enough."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class OddModel:
    """Use it as a context manager; `url(manners)` is the base URL of a model with these manners."""

    def __init__(self) -> None:
        self.bodies: dict[str, list[dict[str, Any]]] = {}  #: what was asked, by ID
        self.headers: list[dict[str, str]] = []
        self._counts: Counter[str] = Counter()
        self._ids = itertools.count()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> OddModel:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, *manners: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{','.join(manners) or 'good'}/{next(self._ids)}/v1"

    def asked(self, url: str) -> list[dict[str, Any]]:
        """Return the bodies of the requests that came to a URL."""
        return self.bodies.get(url.split("/")[-2], [])

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        world = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                manners, number = self.path.split("/")[1:3]
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                world.headers.append({name.lower(): value for name, value in self.headers.items()})
                world.bodies.setdefault(number, []).append(body)
                wanted = manners.split(",")
                manner = wanted[world._counts[number]] if world._counts[number] < len(wanted) else "good"
                if manner == "no_schema" and "response_format" in body:
                    return self.answer(400, b'{"error": {"message": "response_format is not supported"}}')
                world._counts[number] += 1
                self.behave(manner, body)
                return None

            def behave(self, manner: str, body: dict[str, Any]) -> None:
                data = json.loads(body["messages"][-1]["content"])
                texts = bad_texts(manner, data)
                if manner in ("prose", "fence", "no_schema"):
                    told = json.dumps({"texts": good(data)})
                    around = {"prose": ("Sure! [1] Here you {go}: ", " Enjoy!"), "fence": ("```json\n", "\n```")}
                    before, after = around.get(manner, ("", ""))
                    return self.say(before + told + after)
                if texts is not None:
                    return self.say(json.dumps({"texts": texts}))
                match manner:
                    case "broken_utf8":
                        self.answer(200, b'{"choices": [{"message": {"content": "\xff\xfe\xc3"}}]}')
                    case "broken_json":
                        self.say('{"texts": ["one", "two')
                    case "not_json":
                        self.answer(200, b"<html>It works!</html>")
                    case "wrong_shape":
                        self.say(json.dumps({"variations": {"a": "b"}}))
                    case "no_choices":
                        self.answer(200, b'{"choices": []}')
                    case "cut_off":
                        self.say(json.dumps({"texts": good(data)}), finish_reason="length")
                    case "empty":
                        self.answer(200, b"")
                    case "huge":
                        self.answer(200, b" " * (3 << 20))
                    case "bad_gzip":
                        self.answer(200, b"this is no gzip", **{"Content-Encoding": "gzip"})
                    case "nested":
                        self.answer(200, b"[" * 200_000)
                    case "busy":
                        self.answer(429, b'{"error": {"message": "slow down"}}', **{"Retry-After": "0"})
                    case "busy_for_long":
                        self.answer(429, b'{"error": "come back tomorrow"}', **{"Retry-After": "86400"})
                    case "fails":
                        self.answer(500, b"Internal Server Error")
                    case "away":
                        self.answer(503, b"")
                    case "gateway_timeout":
                        self.answer(504, b"")
                    case "error_in_success":
                        self.answer(200, b'{"error": {"message": "model crashed"}}')
                    case "refuses":
                        self.say(None, refusal="I can't help with that.")
                    case "filtered":
                        self.say("", finish_reason="content_filter")
                    case "drips":
                        self.drip()
                    case "hangs":
                        world._closing.wait(30)
                        self.close_connection = True
                    case "hangs_up":
                        self.close_connection = True
                    case "half":
                        self.send_response(200)
                        self.send_header("Content-Length", "1000")
                        self.end_headers()
                        self.wfile.write(b'{"choices": [')
                        self.close_connection = True
                    case "wrong_key":
                        self.answer(401, b'{"error": {"message": "invalid key"}}')
                    case "no_model":
                        self.answer(404, b'{"error": {"message": "no such model"}}')
                    case "elsewhere":
                        self.answer(307, b"", Location="http://127.0.0.1:9/v1/chat/completions")
                    case _:
                        raise AssertionError(f"no manner {manner}")
                return None

            def say(self, content: str | None, *, finish_reason: str = "stop", refusal: str | None = None) -> None:
                message = {"role": "assistant", "content": content, "refusal": refusal}
                usage = {"prompt_tokens": 200, "completion_tokens": 50, "total_tokens": 250}
                told = {"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}], "usage": usage}
                self.answer(200, json.dumps(told).encode())

            def answer(self, status: int, content: bytes, **headers: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True

            def drip(self) -> None:
                """Send a byte now and then: each read succeeds, the answer never ends."""
                self.send_response(200)
                self.send_header("Content-Length", "100000")
                self.end_headers()
                self.close_connection = True
                while not world._closing.wait(0.05):
                    try:
                        self.wfile.write(b" ")
                    except OSError:
                        return

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
