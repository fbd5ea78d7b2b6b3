"""A real HTTP server that speaks the Gemini API in the documented wire shapes; the path of a request says which one.

It tests how the adapter and Google's own SDK speak the protocol; it is no model.
Shapes: https://ai.google.dev/api/generate-content, https://ai.google.dev/gemini-api/docs/troubleshooting,
https://cloud.google.com/apis/design/errors (google.rpc.ErrorInfo, RetryInfo).
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from odd_model import good

USAGE = {"promptTokenCount": 210, "candidatesTokenCount": 40, "totalTokenCount": 300, "thoughtsTokenCount": 50}
INFO = "type.googleapis.com/google.rpc.ErrorInfo"


def failure(code: int, status: str, message: str, *details: dict[str, Any]) -> tuple[int, Any]:
    return code, {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def written(text: str, ending: str = "STOP") -> tuple[int, Any]:
    parts = [{"text": "I think about it.", "thought": True}, {"text": text}]
    candidate = {"content": {"parts": parts, "role": "model"}, "finishReason": ending, "index": 0}
    return 200, {"candidates": [candidate], "usageMetadata": USAGE, "modelVersion": "gemini-3.8-flash"}


def answer_to(manner: str, body: dict[str, Any]) -> tuple[int, Any]:
    """Return status and JSON."""
    data = json.loads(body["contents"][0]["parts"][0]["text"]) if body else {}
    match manner:
        case "good":
            return written(json.dumps({"texts": good(data)}))
        case "no_key":
            reason = {"@type": INFO, "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
            return failure(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", reason)
        case "forbidden":
            return failure(403, "PERMISSION_DENIED", "Your API key was reported as leaked.")
        case "no_model":
            return failure(404, "NOT_FOUND", "models/gemini-0 is not found for API version v1beta")
        case "quota":
            retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "31.2s"}
            return failure(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", retry)
        case "overloaded":
            return failure(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")
        case "internal":
            return failure(500, "INTERNAL", "An internal error has occurred.")
        case "deadline":
            return failure(504, "DEADLINE_EXCEEDED", "The service is unable to finish processing in time.")
        case "blocked":
            return 200, {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": USAGE}
        case "safety":
            return 200, {"candidates": [{"finishReason": "SAFETY", "index": 0}], "usageMetadata": USAGE}
        case "recitation":
            return 200, {"candidates": [{"finishReason": "RECITATION", "index": 0}], "usageMetadata": USAGE}
        case "too_long":
            return written('{"texts": ["one', "MAX_TOKENS")
        case "broken":
            return written('{"texts": ["one", "two')
        case "empty":
            return 200, {"usageMetadata": USAGE}
        case "no_json":
            return 200, b"<html>captive portal</html>"
        case "no_utf8":
            return 200, b'{"candidates": [{"content": {"parts": [{"text": "\xff\xfe"}]}}]}'
    raise AssertionError(f"no manner {manner}")


OUTCOMES = {
    "no_key": "text_model_denied",
    "forbidden": "text_model_denied",
    "no_model": "text_model_unknown",
    "quota": "text_model_busy",
    "overloaded": "text_model_failed",
    "internal": "text_model_failed",
    "deadline": "text_model_timed_out",
    "blocked": "text_model_refused",
    "safety": "text_model_refused",
    "recitation": "text_model_refused",
    "too_long": "text_reply_broken",
    "broken": "text_reply_broken",
    "empty": "text_reply_broken",
    "no_json": "text_reply_broken",
    "no_utf8": "text_reply_broken",
    "hangs": "text_model_timed_out",
    "drips": "text_model_timed_out",
}


class OddGemini:
    """Use it as a context manager; `url(manner)` is its base URL. requests: path, headers, body of those that came."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> OddGemini:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, manner: str = "good") -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{manner}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        world = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.reply(self.path.split("/")[1], {})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self.reply(self.path.split("/")[1], body)

            def reply(self, manner: str, body: dict[str, Any]) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                world.requests.append((self.path, headers, body))
                if manner == "hangs":
                    world._closing.wait(30)
                    return
                if manner == "drips":
                    self.drip()
                    return
                if self.command == "GET" and manner == "good":
                    status, told = 200, {"name": "models/gemini-3.8-flash", "displayName": "Gemini"}
                else:
                    status, told = answer_to(manner, body)
                content = told if isinstance(told, bytes) else json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json; charset=UTF-8")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def drip(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "100000")
                self.end_headers()
                while not world._closing.wait(0.05):
                    try:
                        self.wfile.write(b" ")
                    except OSError:
                        return

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
