"""Gemini's speech, by Google's own SDK."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from pathlib import Path

import httpx2
from google.genai import Client, errors, types

from reelmill.errors import Stopped, VoiceBroken, VoiceProblem, VoiceUnavailable
from reelmill.jobs.speech import Speech
from reelmill.voices.server import open_client, problem_of

DEFAULT_VOICE = "Kore"
RATE = 24_000  #: samples/s, unless the answer tells another


class GeminiVoice:
    """One speaking model of the Gemini API."""

    def __init__(self, model: str, *, url: str | None, key: str, timeout_s: float) -> None:
        """url: of another server that speaks its API; None: Google's."""
        self.name = f"gemini/{model}"
        self._model = model
        self._http = open_client(timeout_s)
        self._client = Client(
            api_key=key,
            vertexai=False,
            http_options=types.HttpOptions(
                base_url=url,
                timeout=int(timeout_s * 1000),
                httpx_client=self._http,
                retry_options=types.HttpRetryOptions(attempts=1),  # the step decides on another try
            ),
        )

    def speak(
        self, lines: Sequence[str], voice: str | None, *, scratch: Path, stop: threading.Event  # noqa: ARG002
    ) -> list[Speech]:  # fmt: skip
        config = types.GenerateContentConfig(
            response_modalities=["AUDIO"],
            speech_config=types.SpeechConfig(
                voice_config=types.VoiceConfig(
                    prebuilt_voice_config=types.PrebuiltVoiceConfig(voice_name=voice or DEFAULT_VOICE)
                )
            ),
        )
        spoken = []
        for line in lines:
            if stop.is_set():
                raise Stopped
            try:
                reply = self._client.models.generate_content(model=self._model, contents=line, config=config)
            except Exception as error:
                raise self._problem(error) from error
            spoken.append(_read(reply))
        return spoken

    def known(self) -> list[tuple[str, str]]:
        return []  # each model has its own

    def check(self) -> str:
        try:
            self._client.models.get(model=self._model)
        except Exception as error:
            raise self._problem(error) from error
        return f"{self.name} takes our key and has the model"

    def close(self) -> None:
        self._http.close()

    def _problem(self, error: Exception) -> VoiceProblem:
        """Return what an exception of the SDK means here. Raises it again when it is a defect."""
        match error:
            case VoiceProblem():
                return error
            case errors.APIError():
                words = str(error.message or error.status or "")[:300]
                invalid = error.code == 400 and "API_KEY" in str(error.details)
                return problem_of(401 if invalid else error.code, words, self.name)
            case httpx2.TransportError():
                return VoiceUnavailable(f"{self.name}: {type(error).__name__} {error}.")
            case ValueError():  # JSON, UTF-8 and pydantic's own
                return VoiceBroken(f"The answer of {self.name} can't be read: {str(error)[:300]}")
            case _:
                raise error


def _read(reply: types.GenerateContentResponse) -> Speech:
    """Return the speech of an answer: `audio/L16;codec=pcm;rate=24000`. Raises VoiceBroken."""
    candidate = reply.candidates[0] if reply.candidates else None
    parts = candidate.content.parts if candidate and candidate.content else None
    blobs = [part.inline_data for part in parts or () if part.inline_data and part.inline_data.data]
    if not blobs:
        ending = candidate.finish_reason.value if candidate and candidate.finish_reason else "no candidate"
        raise VoiceBroken(f"The answer has no sound: {ending}.")
    kind = blobs[0].mime_type or ""
    if not kind.lower().startswith(("audio/l16", "audio/pcm")):
        raise VoiceBroken(f"The answer is {kind[:60]!r}, not plain samples.")
    told = re.search(r"rate=(\d{4,6})", kind)
    samples = b"".join(blob.data or b"" for blob in blobs)
    return Speech(int(told[1]) if told else RATE, samples[: len(samples) & ~1])
