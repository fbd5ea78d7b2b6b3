"""Exactly one text for each slot, or a typed error: the model is asked, its answers are checked, the rest is local."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

import structlog

from reelmill.errors import (
    InternalError,
    SettingInvalid,
    Stopped,
    TextContractBroken,
    TextModelDenied,
    TextModelNeeded,
    TextModelTimedOut,
    TextModelUnknown,
    TextProblem,
    TextReplyBroken,
    VariationsUnavailable,
)
from reelmill.jobs.ports import UNOBSERVED, Observer, TextModel
from reelmill.jobs.texts import ALTERNATIVES, TextAsk, TextReply, TextSlot, Variations, VariedText, WantedTexts, limits
from reelmill.texts import rules
from reelmill.texts.cache import ReplyCache
from reelmill.texts.contract import Contract, cleaned
from reelmill.texts.replies import INSTRUCTIONS, shortened

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.texts")

REPAIRS = 2  #: further rounds for what broke a rule
MAX_RETRIES = 3  #: of one request, beyond the first try
LONGEST_WAIT_S = 30.0  #: between two tries: a server that asks for more isn't waited for
MOST_TRIED, MOST_TRIED_EACH = 2000, 20  #: local texts, for all and for each slot: no request may keep us for long
MOST_AT_ONCE = 40  #: texts in one request
MOST_TOLD = 60  #: texts that the model is shown as taken


@dataclass
class _Work:
    """One request while it is worked on."""

    tenant: str
    wanted: WantedTexts
    contract: Contract
    stop: threading.Event
    until: float  #: by the monotonic clock: the model isn't asked again after that
    texts: dict[int, VariedText] = field(default_factory=dict)  #: by slot
    broken: dict[int, tuple[str, str]] = field(default_factory=dict)  #: the last text of a slot and its fault
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def open_slots(self) -> list[int]:
        return [n for n in range(len(self.wanted.slots)) if n not in self.texts]

    def take(self, n: int, text: str, source: str) -> str | None:
        """Put a text into a slot; return its fault instead when it can't stand there."""
        fault = self.contract.accept(text, self.wanted.slots[n], by_model=source != "local")
        if fault is None:
            self.texts[n] = VariedText(text, source)
        return fault


class Maker:
    """The `TextMaker` of this process: a model, or None for local rules alone."""

    def __init__(
        self,
        model: TextModel | None = None,
        *,
        cache: ReplyCache | None = None,
        backoff_s: float = 2.0,
        patience_s: float = 120.0,
        price: tuple[float, float] | None = None,
        observer: Observer = UNOBSERVED,
    ) -> None:
        """backoff_s: before the first retry. patience_s: with the model, for each 40 texts, all tries together.
        price: of a million tokens, read and written.
        """
        self._model = model
        self.model_name = model.name if model else None
        self._cache = cache
        self._backoff_s = backoff_s
        self._patience_s = patience_s
        self._price = price
        self._observer = observer

    def vary(
        self,
        tenant: str,
        wanted: WantedTexts,
        *,
        fits: Callable[[str], str | None] = lambda _: None,
        stop: threading.Event | None = None,
    ) -> Variations:
        began = time.monotonic()
        contract = Contract(wanted, fits, instructions=INSTRUCTIONS)
        until = began + self._patience_s * -(-len(wanted.slots) // MOST_AT_ONCE)
        work = _Work(tenant, wanted, contract, stop or threading.Event(), until)
        asked = self._model if wanted.model else None
        if wanted.model and not wanted.fill and asked is None:
            raise SettingInvalid(
                "The texts shall come from a model, and none is set up here: "
                "REELMILL_TEXT_MODEL=gemini/NAME with GEMINI_API_KEY, or openai/NAME with REELMILL_TEXT_MODEL_URL."
            )
        trouble: TextProblem | None = None
        if asked is not None:
            try:
                self._by_model(asked, work)
            except (TextModelDenied, TextModelUnknown):
                raise  # a wrong setting: local texts would hide it
            except TextProblem as problem:
                if not wanted.fill:
                    raise
                trouble = problem
        by_model = len(work.texts)
        if asked is None or (wanted.fill and work.open_slots()):
            self._by_rules(work)
        if left := work.open_slots():
            raise _unfinished(work, left, by_model=asked is not None and not wanted.fill, trouble=trouble)
        warnings: tuple[str, ...] = ()
        if asked is not None and by_model < len(wanted.slots):
            warnings = (_why_local(work, by_model, asked.name, trouble),)
            log.warning("local rules made what the model didn't", model=asked.name, detail=warnings[0])
        return Variations(
            texts=tuple(work.texts[n] for n in range(len(wanted.slots))),
            model=asked.name if asked else None,
            requests=work.requests,
            tokens_in=work.tokens_in,
            tokens_out=work.tokens_out,
            cost=self._cost(work),
            took_s=round(time.monotonic() - began, 3),
            warnings=warnings,
        )

    def compose(self, tenant: str, ask: TextAsk, *, stop: threading.Event | None = None) -> list[str]:
        if self._model is None:
            raise TextModelNeeded
        kept = self._kept(tenant, self._model, ask)
        if kept is None:
            until = time.monotonic() + self._patience_s
            reply = self._asked(self._model, ask, stop or threading.Event(), until)
            if len(reply.texts) < ask.count:
                raise TextReplyBroken(f"{ask.count} texts were asked for, {len(reply.texts)} came.")
            kept = reply
            if self._cache:
                self._cache.keep(tenant, self._model.name, ask, reply)
        return list(kept.texts[: ask.count])

    def check(self) -> str:
        """Return a word on what makes the texts. Raises TextProblem."""
        return self._model.check() if self._model else "local rules"

    def close(self) -> None:
        if self._model is not None:
            self._model.close()

    # ── by a model ────────────────────────────────────────────────────────────────────────────

    def _by_model(self, model: TextModel, work: _Work) -> None:
        """Fill what slots the model can, in one round and at most two of repair. Raises TextProblem."""
        for _ in range(1 + REPAIRS):
            left = work.open_slots()
            for begin in range(0, len(left), MOST_AT_ONCE):
                slots = left[begin : begin + MOST_AT_ONCE]
                reply = self._reply(model, work, _ask(work, slots))
                _sort(work, slots, reply.texts, f"llm:{model.name}")
            if not work.open_slots():
                return

    def _reply(self, model: TextModel, work: _Work, ask: TextAsk) -> TextReply:
        """Return the answer that was kept, or a new one. Raises TextProblem when four tries gave none."""
        kept = self._kept(work.tenant, model, ask)
        if kept is not None:
            return kept
        reply = self._asked(model, ask, work.stop, work.until)
        work.requests += 1
        work.tokens_in += reply.tokens_in
        work.tokens_out += reply.tokens_out
        if self._cache:
            self._cache.keep(work.tenant, model.name, ask, reply)
        return reply

    def _kept(self, tenant: str, model: TextModel, ask: TextAsk) -> TextReply | None:
        kept = self._cache.find(tenant, model.name, ask) if self._cache else None
        if kept is not None:
            self._observer.count("text_model_kept")
        return kept

    def _asked(self, model: TextModel, ask: TextAsk, stop: threading.Event, until: float) -> TextReply:
        """Return a new answer, tried again where that may help. Raises TextProblem, Stopped."""
        for tries in itertools.count():
            if stop.is_set():
                raise Stopped
            if time.monotonic() > until:
                raise TextModelTimedOut(f"{model.name} had its time: it isn't asked again.")
            try:
                return self._written(model, ask)
            except TextProblem as problem:
                pause_s = self._backoff_s * 2**tries * (1 + random.random())  # noqa: S311 - spreads retries
                pause_s = max(pause_s, float(problem.extra.get("retry_after_s", 0.0)))
                log.warning(
                    "text model failed", model=model.name, code=problem.code, detail=problem.detail, tries=tries
                )
                if not problem.passing or tries == MAX_RETRIES or pause_s > max(LONGEST_WAIT_S, self._backoff_s * 16):
                    raise
                stop.wait(pause_s)
        raise AssertionError("unreachable: the last try returns or raises")

    def _written(self, model: TextModel, ask: TextAsk) -> TextReply:
        began, result = time.monotonic(), InternalError.code
        try:
            reply = model.write(ask)
            result = "ok"
        except TextProblem as problem:
            result = problem.code
            raise
        finally:
            self._observer.observe("text_model_seconds", time.monotonic() - began, result=result)
        self._observer.count("text_model_tokens", reply.tokens_in, direction="read")
        self._observer.count("text_model_tokens", reply.tokens_out, direction="written")
        return reply

    def _cost(self, work: _Work) -> float | None:
        if self._price is None:
            return None
        return round((self._price[0] * work.tokens_in + self._price[1] * work.tokens_out) / 1e6, 6)

    # ── by rules ──────────────────────────────────────────────────────────────────────────────

    def _by_rules(self, work: _Work) -> None:
        """Fill the open slots with what local rules find, each text into the first slot that takes it."""
        wanted, contract = work.wanted, work.contract
        left = work.open_slots()
        found = rules.candidates(wanted, contract.language)
        for text in map(cleaned, islice(found, MOST_TRIED + len(left) * MOST_TRIED_EACH)):
            if not left:
                return
            roomiest = max(left, key=lambda n: wanted.slots[n].max_chars)
            if contract.too_long(text, wanted.slots[roomiest]) or contract.fault(text) is not None:
                continue
            for n in left:
                if contract.too_long(text, wanted.slots[n]) is None:
                    if work.take(n, text, "local") is None:
                        left.remove(n)
                    break  # what is too alike or doesn't fit here, does so everywhere
        for n in left:
            for text in rules.numbered(wanted, wanted.slots[n]):
                if work.take(n, text, "local") is None:
                    break


def _ask(work: _Work, slots: Sequence[int]) -> TextAsk:
    """Return the request for these slots. All that users wrote is data."""
    wanted = work.wanted
    room = [max(1, _room(wanted.slots[n], work.contract.base)) for n in slots]
    data: dict[str, object] = {"text": work.contract.base, "count": len(slots), "max_chars": room}
    if work.contract.base != wanted.base:
        data["also_good"] = list(dict.fromkeys(rules.expansions(wanted.base)))[1:10] if _few(wanted.base) else []
    shots = [list(wanted.slots[n].shots) for n in slots]
    optional = {
        "language": work.contract.language,
        "must_have": list(wanted.required),
        "must_not_have": list(wanted.forbidden),
        "taken": [made.text for made in work.texts.values()][-MOST_TOLD:],
        "rejected": [{"text": shortened(text, 300), "why": why} for n in slots for text, why in _broken(work, n)],
        "variant": wanted.variant,
        "shots": shots if any(shots) else [],
        **wanted.facts,
    }
    return TextAsk(INSTRUCTIONS, {**data, **{k: v for k, v in optional.items() if v}}, len(slots))


def _few(base: str) -> bool:
    return sum(1 for found in ALTERNATIVES.finditer(base) if found[1] is not None) <= 6


def _room(slot: TextSlot, base: str) -> int:
    """Return how many characters a text of this slot may have before its placeholders are filled in."""
    grown = sum(len(value) - len(name) - 2 for name, value in slot.values.items() if f"{{{name}}}" in base)
    return slot.max_chars - grown


def _broken(work: _Work, n: int) -> list[tuple[str, str]]:
    return [work.broken[n]] if n in work.broken else []


def _sort(work: _Work, slots: Sequence[int], texts: Sequence[str], source: str) -> None:
    """Put a model's texts where they may stand; note what is wrong with the others."""
    work.broken.clear()
    for at, raw in enumerate(texts[: 4 * len(slots)]):
        text = cleaned(raw)
        left = [n for n in slots if n not in work.texts]
        own = slots[at] if at < len(slots) and slots[at] in left else (left[0] if left else None)
        if own is None:
            return
        if work.contract.fault(text) is None:
            roomy = (n for n in chain([own], left) if work.contract.too_long(text, work.wanted.slots[n]) is None)
            own = next(roomy, own)
        if (fault := work.take(own, text, source)) is not None:
            work.broken[own] = text, fault
    for n in slots:
        if n not in work.texts and n not in work.broken:
            work.broken[n] = "", "there was no text for it"


def _why_local(work: _Work, by_model: int, model: str, trouble: TextProblem | None) -> str:
    count = len(work.wanted.slots)
    why = f"{trouble.code}: {trouble.detail}" if trouble else f"its answers broke the rules: {_last_fault(work)}"
    return f"{model} made {by_model} of {count} texts, local rules the others ({why})"


def _last_fault(work: _Work) -> str:
    return next((why for _, why in work.broken.values()), "none was left")


def _unfinished(work: _Work, left: Sequence[int], *, by_model: bool, trouble: TextProblem | None) -> TextProblem:
    made, count = len(work.texts), len(work.wanted.slots)
    if by_model:
        return TextContractBroken(f"{made} of {count} texts keep the rules; the last fault: {_last_fault(work)}.")
    base, language = work.contract.base, work.contract.language
    fault = work.contract.fault(base)
    least, most = limits([work.wanted.slots[n] for n in left])
    shortest = f"at most {least} characters" if least == most else f"at most {least} to {most} characters"
    why = f"the text itself breaks a rule: {fault}" if fault else rules.missing(work.wanted, language)
    also = f" The model gave none: {trouble.code}: {trouble.detail}" if trouble else ""
    return VariationsUnavailable(
        f"Local rules found {made} of {count} texts; the others may have {shortest}. To get more: {why}.{also}",
        made=made,
        wanted=count,
    )
