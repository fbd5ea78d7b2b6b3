"""A real HTTP server that speaks OpenAI's `/audio/speech` and Gemini's speech; a request's path says how it behaves.

It tests how the adapters and Google's own SDK speak the protocols; it is no voice: what is "spoken" is a tone.
Shapes: https://platform.openai.com/docs/api-reference/audio/createSpeech,
https://ai.google.dev/gemini-api/docs/speech-generation.
"""

from __future__ import annotations

import base64
import io
import json
import math
import threading
import wave
from array import array
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

RATE = 24_000
OUTCOMES = {
    "no_key": "voice_denied",
    "no_model": "voice_unknown",
    "quota": "voice_unavailable",
    "overloaded": "voice_unavailable",
    "no_wave": "voice_broken",
    "cut_off": "voice_unavailable",
    "moved": "voice_broken",
}
STATUS = {"no_key": 401, "no_model": 404, "quota": 429, "overloaded": 503}


def tone(seconds: float = 0.5, rate: int = RATE) -> bytes:
    """Return samples, 16 bits, mono: a tone with a tenth of a second of silence around it."""
    quiet = [0] * (rate // 10)
    loud = [round(9000 * math.sin(2 * math.pi * 330 * n / rate)) for n in range(round(seconds * rate))]
    return array("h", [*quiet, *loud, *quiet]).tobytes()


def streamed_wave(samples: bytes) -> bytes:
    """Return a WAV as servers stream it: written before its length was known."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(samples)
    content = bytearray(out.getvalue())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    return bytes(content)


class OddVoice:
    """The server; `requests` has what came: path, headers and body."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        odd = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self.answer({})

            def do_POST(self) -> None:
                self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def answer(self, body: dict[str, Any]) -> None:
                odd.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                manner = self.path.split("/")[1]
                if manner in STATUS:
                    told = json.dumps({"error": {"code": STATUS[manner], "message": f"It is {manner}."}}).encode()
                    return self.send(STATUS[manner], "application/json", told)
                if manner == "moved":
                    return self.send(307, "text/plain", b"elsewhere", Location="http://127.0.0.1:9/")
                if not body:
                    return self.send(200, "application/json", b'{"data": [], "name": "models/tts"}')
                if "input" not in body:
                    data = base64.b64encode(b"" if manner == "no_wave" else tone()).decode()
                    blob = {"inlineData": {"mimeType": f"audio/L16;codec=pcm;rate={RATE}", "data": data}}
                    parts = [{"text": "?"}] if manner == "no_wave" else [blob]
                    candidate = {"content": {"parts": parts, "role": "model"}, "finishReason": "STOP"}
                    content = json.dumps({"candidates": [candidate]}).encode()
                    return self.send(200, "application/json", content, cut=manner == "cut_off")
                content = b"ID3 this is an MP3" if manner == "no_wave" else streamed_wave(tone())
                return self.send(200, "audio/wav", content, cut=manner == "cut_off")

            def send(self, status: int, kind: str, content: bytes, *, cut: bool = False, **headers: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if cut else content)
                self.close_connection = cut

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def url(self, manner: str = "good") -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{manner}"

    def __enter__(self) -> OddVoice:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
