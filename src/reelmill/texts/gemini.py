"""Gemini, by Google's own SDK with structured output."""

from __future__ import annotations

from typing import Any

import httpx2
from google.genai import Client, errors, types

from reelmill.errors import (
    TextModelDenied,
    TextModelRefused,
    TextModelTimedOut,
    TextModelUnreachable,
    TextProblem,
    TextReplyBroken,
)
from reelmill.jobs.texts import TextAsk, TextReply
from reelmill.texts.bounded import open_client
from reelmill.texts.openai import problem_of
from reelmill.texts.replies import message_of, read_texts, schema_for, shortened

REFUSALS = {"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "LANGUAGE"}


class GeminiModel:
    """One model of the Gemini API. No tools, no files, no search."""

    def __init__(self, model: str, *, url: str | None, key: str, timeout_s: float) -> None:
        """url: of another server that speaks its API; None: Google's. timeout_s: for one whole answer."""
        self.name = f"gemini/{model}"
        self._model = model
        self._timeout_s = timeout_s
        self._http = open_client(timeout_s)
        self._client = Client(
            api_key=key,
            vertexai=False,
            http_options=types.HttpOptions(
                base_url=url,
                timeout=int(timeout_s * 1000),
                httpx_client=self._http,
                retry_options=types.HttpRetryOptions(attempts=1),  # who asks decides on another try
            ),
        )

    def write(self, ask: TextAsk) -> TextReply:
        config = types.GenerateContentConfig(
            system_instruction=ask.system,
            response_mime_type="application/json",
            response_json_schema=schema_for(ask.count),
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        )
        try:
            reply = self._client.models.generate_content(
                model=self._model, contents=message_of(ask.data), config=config
            )
        except Exception as error:
            raise self._problem(error) from error
        return _read(reply)

    def check(self) -> str:
        try:
            self._client.models.get(model=self._model)
        except Exception as error:
            raise self._problem(error) from error
        return f"{self.name} takes our key and has the model"

    def close(self) -> None:
        self._http.close()

    def _problem(self, error: Exception) -> TextProblem:
        """Return what an exception of the SDK means here. Raises it again when it is a defect."""
        match error:
            case TextProblem():
                return error
            case errors.APIError():
                words = shortened(str(error.message or error.status or ""))
                reasons = {str(one.get("reason")) for one in _details(error)}
                if error.code == 400 and reasons & {"API_KEY_INVALID", "API_KEY_EXPIRED"}:
                    return TextModelDenied(f"{self.name}: HTTP 400: {words}")
                return problem_of(error.code, words, self.name, retry_after=_retry_after(error))
            case httpx2.ConnectTimeout() | httpx2.ConnectError():
                return TextModelUnreachable(f"The server of {self.name} can't be reached: {error}.")
            case httpx2.TimeoutException():
                return TextModelTimedOut(f"{self.name} didn't answer within {self._timeout_s:g} s.")
            case httpx2.DecodingError():
                return TextReplyBroken(f"The answer of {self.name} can't be unpacked: {error}.")
            case httpx2.TransportError():
                return TextModelUnreachable(f"{self.name} broke the connection off: {type(error).__name__} {error}.")
            case ValueError():  # JSON, UTF-8 and pydantic's own
                return TextReplyBroken(f"The answer of {self.name} can't be read: {shortened(str(error))}")
            case _:
                raise error


def _read(reply: types.GenerateContentResponse) -> TextReply:
    blocked = reply.prompt_feedback.block_reason if reply.prompt_feedback else None
    if blocked:
        raise TextModelRefused(f"The model refused the text: {blocked.value}.")
    if not reply.candidates:
        raise TextReplyBroken("The answer has no candidate.")
    candidate = reply.candidates[0]
    ending = candidate.finish_reason.value if candidate.finish_reason else "STOP"
    if ending in REFUSALS:
        raise TextModelRefused(f"The model refused while it wrote: {ending}.")
    if ending != "STOP":
        raise TextReplyBroken(f"The answer wasn't finished: {ending}.")
    parts = candidate.content.parts if candidate.content else None
    content = "".join(part.text for part in parts or () if part.text and not part.thought)
    usage = reply.usage_metadata
    tokens_in = (usage.prompt_token_count or 0) if usage else 0
    tokens_out = ((usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)) if usage else 0
    return TextReply(read_texts(content), tokens_in, tokens_out)


def _details(error: errors.APIError) -> list[dict[str, Any]]:
    """Return an error's details (google.rpc.ErrorInfo, RetryInfo and others)."""
    told = error.details.get("error", error.details) if isinstance(error.details, dict) else {}
    found = told.get("details") if isinstance(told, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _retry_after(error: errors.APIError) -> str | None:
    """Return how long Gemini asks to wait: by google.rpc.RetryInfo, `"retryDelay": "31s"`, or by the header."""
    for one in _details(error):
        delay = str(one.get("retryDelay", ""))
        if delay.endswith("s") and delay[:-1].replace(".", "", 1).isdigit():
            return str(int(float(delay[:-1]) + 0.999))
    headers = getattr(error.response, "headers", None)
    value = headers.get("retry-after") if headers is not None else None
    return str(value) if value is not None else None
