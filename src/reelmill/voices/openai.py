"""Any server that speaks OpenAI's `/audio/speech`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from reelmill.errors import Stopped
from reelmill.jobs.speech import Speech
from reelmill.voices.narrator import read_wave
from reelmill.voices.server import open_client, sent

OPENAI_URL = "https://api.openai.com/v1"
DEFAULT_VOICE = "alloy"


class OpenAiVoice:
    """One model of one server; its voices are chosen by name."""

    def __init__(self, model: str, *, url: str | None, key: str | None, timeout_s: float) -> None:
        """url: up to and with `/v1`; None: OpenAI's own. timeout_s: for each wait of an answer."""
        self.name = f"openai/{model}"
        self._model = model
        self._url = (url or OPENAI_URL).rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = open_client(timeout_s)

    def speak(
        self, lines: Sequence[str], voice: str | None, *, scratch: Path, stop: threading.Event  # noqa: ARG002
    ) -> list[Speech]:  # fmt: skip
        spoken = []
        for line in lines:
            if stop.is_set():
                raise Stopped
            body = {"model": self._model, "voice": voice or DEFAULT_VOICE, "input": line, "response_format": "wav"}
            url = f"{self._url}/audio/speech"
            spoken.append(read_wave(sent(self._client, "POST", url, who=self.name, json=body, headers=self._headers)))
        return spoken

    def known(self) -> list[tuple[str, str]]:
        return []  # each model has its own

    def check(self) -> str:
        who = f"{self.name} at {self._url}"
        sent(self._client, "GET", f"{self._url}/models", who=who, headers=self._headers)
        return f"{who} answers"

    def close(self) -> None:
        self._client.close()
