"""Any server that speaks OpenAI's API: OpenAI, Ollama, vLLM, llama.cpp and others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from reelmill.errors import (
    TextModelBusy,
    TextModelDenied,
    TextModelFailed,
    TextModelRefused,
    TextModelTimedOut,
    TextModelUnknown,
    TextModelUnreachable,
    TextProblem,
    TextReplyBroken,
)
from reelmill.jobs.texts import MAX_CHARS, TextAsk, TextReply
from reelmill.texts.bounded import open_client
from reelmill.texts.replies import SCHEMA_NAME, message_of, read_texts, schema_for, shortened

OPENAI_URL = "https://api.openai.com/v1"
MOST_LISTED = 8  #: models that are named when one isn't there


class OpenAiModel:
    """One model of one server. Only chat completions are used, and no tools."""

    def __init__(self, model: str, *, url: str | None, key: str | None, timeout_s: float) -> None:
        """url: up to and with `/v1`; None: OpenAI's own. timeout_s: for one whole answer."""
        self.name = f"openai/{model}"
        self._model = model
        self._url = (url or OPENAI_URL).rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout_s = timeout_s
        self._client = open_client(timeout_s)
        self._formats = 0  #: which way of asking for JSON this server takes; found out by its refusals

    def write(self, ask: TextAsk) -> TextReply:
        # OpenAI itself refuses schemas with lengths; a small model of one's own rambles without.
        longest = None if self._url == OPENAI_URL else max(ask.data.get("max_chars") or [MAX_CHARS])
        body = {
            "model": self._model,
            "messages": [
                {"role": "system", "content": ask.system},
                {"role": "user", "content": message_of(ask.data)},
            ],
        }
        formats: list[Json] = [
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": SCHEMA_NAME, "strict": True, "schema": schema_for(ask.count, longest)},
                }
            },
            {"response_format": {"type": "json_object"}},
            {},
        ]
        while True:
            # Users read these errors: where the model's server is, is none of their business.
            reply = self._send("POST", "/chat/completions", {**body, **formats[self._formats]}, who=self.name)
            words = reply.text.lower() if reply.status_code in (400, 422) else ""
            if self._formats + 1 < len(formats) and ("format" in words or "schema" in words):
                self._formats += 1
                continue
            return _read(_json(self._checked(reply, self.name)))

    def check(self) -> str:
        who = f"{self.name} at {self._url}"
        reply = self._send("GET", "/models", who=who)
        if reply.status_code in (404, 405, 501):  # not every server lists its models: let it say one word
            one = {"model": self._model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
            self._checked(self._send("POST", "/chat/completions", one, who=who), who)
            return f"{who} answers"
        listed = _json(self._checked(reply, who)).get("data")
        names = [str(one["id"]) for one in listed if isinstance(one, dict) and "id" in one] if listed else []
        if self._model not in names:
            raise TextModelUnknown(f"{self._url} has no model {self._model!r}; it has {_told(names)}.", models=names)
        return f"{who} takes our key and has the model"

    def close(self) -> None:
        self._client.close()

    def _send(self, method: str, path: str, body: Json | None = None, *, who: str) -> httpx2.Response:
        url = f"{self._url}{path}"
        try:
            return self._client.request(method, url, json=body, headers=self._headers)
        except httpx2.TimeoutException as error:
            if isinstance(error, httpx2.ConnectTimeout):
                raise TextModelUnreachable(f"{who}: no connection in time.") from error
            raise TextModelTimedOut(f"{who} didn't answer within {self._timeout_s:g} s.") from error
        except httpx2.ConnectError as error:
            raise TextModelUnreachable(f"{who}: no connection: {error}.") from error
        except httpx2.DecodingError as error:
            raise TextReplyBroken(f"The answer of {who} can't be unpacked: {error}.") from error
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise TextModelUnreachable(f"{who} broke the connection off: {type(error).__name__} {error}.") from error

    def _checked(self, reply: httpx2.Response, who: str) -> httpx2.Response:
        """Return a reply that is a success. Raises TextProblem."""
        if reply.is_success:
            return reply
        wait = reply.headers.get("retry-after")
        raise problem_of(reply.status_code, said(reply.text), who, retry_after=wait)


Json = Mapping[str, Any]


def problem_of(status: int, words: str, who: str, *, retry_after: str | None = None) -> TextProblem:
    """Return the error that an HTTP status of a model's server stands for. words: what the server said."""
    told = f"{who}: HTTP {status}: {words}" if words else f"{who}: HTTP {status}."
    match status:
        case 401 | 403:
            return TextModelDenied(told)
        case 404:
            return TextModelUnknown(told)
        case 408 | 504:
            return TextModelTimedOut(told)
        case 429:
            wait_s = seconds_of(retry_after)
            later = "" if wait_s is None else f" Again in {wait_s:g} s."
            return TextModelBusy(told + later, **({} if wait_s is None else {"retry_after_s": wait_s}))
        case _:
            return TextModelFailed(told)


def seconds_of(retry_after: str | None) -> float | None:
    """Return what a Retry-After says in seconds; it may be a number or a date (RFC 9110 §10.2.3)."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, round((moment - datetime.now(UTC)).total_seconds(), 1))


def said(body: str) -> str:
    """Return an error's own words, in whatever form servers tell them."""
    try:
        told: Any = json.loads(body)
    except ValueError:
        return shortened(body)
    for name in ("error", "message", "detail"):
        if isinstance(told, dict) and name in told:
            told = told[name]
    return shortened(str(told))


def _json(reply: httpx2.Response) -> Json:
    try:
        told = json.loads(reply.content.decode())
    except (ValueError, RecursionError) as error:
        raise TextReplyBroken(f"The answer isn't JSON: {shortened(repr(reply.content[:100]))}") from error
    if not isinstance(told, dict):
        raise TextReplyBroken(f"The answer isn't a JSON object: {shortened(reply.text)}")
    return told


def _read(told: Json) -> TextReply:
    """Return the texts of a chat completion. Raises TextModelRefused, TextReplyBroken, TextModelFailed."""
    if told.get("error"):
        raise TextModelFailed(f"An error in a successful answer: {said(json.dumps(told))}")
    try:
        choice = told["choices"][0]
        message, ending = choice["message"], choice.get("finish_reason")
        content, refusal = message.get("content"), message.get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise TextReplyBroken(f"The answer has no message: {shortened(json.dumps(told))}") from error
    if refusal or ending == "content_filter":
        raise TextModelRefused(f"The model refused: {shortened(str(refusal or 'its content filter stopped it'))}")
    if not isinstance(content, str):
        raise TextReplyBroken("The answer's message has no text.")
    if ending == "length":
        raise TextReplyBroken("The answer was cut off: it got too long for the model.")
    usage = told.get("usage")
    return TextReply(read_texts(content), _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))


def _count(usage: Any, name: str) -> int:
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) and count > 0 else 0


def _told(names: list[str]) -> str:
    shown = ", ".join(names[:MOST_LISTED]) or "none"
    return f"{shown} and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else shown
