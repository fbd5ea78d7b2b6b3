"""What models answered, kept in the object store by its question: the same request gives the same texts, paid once."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

import structlog

from reelmill.errors import ObjectMissing, StorageProblem
from reelmill.jobs.ports import ObjectStore
from reelmill.jobs.texts import TextAsk, TextReply

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.texts")


class ReplyCache:
    """Answers by tenant, model and question. When storage is away, the model is asked instead."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def find(self, tenant: str, model: str, ask: TextAsk) -> TextReply | None:
        key = key_of(tenant, model, ask)
        try:
            told = json.loads(b"".join(self._objects.open(key)))
            return TextReply(tuple(map(str, told["texts"])), int(told["tokens_in"]), int(told["tokens_out"]))
        except ObjectMissing:
            return None
        except (StorageProblem, ValueError, KeyError, TypeError) as error:
            log.warning("kept texts can't be read", key=key, detail=str(error))
            return None

    def keep(self, tenant: str, model: str, ask: TextAsk, reply: TextReply) -> None:
        key = key_of(tenant, model, ask)
        content = json.dumps(
            {"texts": reply.texts, "tokens_in": reply.tokens_in, "tokens_out": reply.tokens_out}, ensure_ascii=False
        ).encode()
        with tempfile.TemporaryDirectory(prefix="reelmill-texts-") as folder:
            path = Path(folder) / "reply.json"
            path.write_bytes(content)
            sha256 = hashlib.sha256(content).hexdigest()
            try:
                self._objects.put_file(key, path, content_type="application/json", sha256=sha256)
            except StorageProblem as error:
                log.warning("texts can't be kept: asking again will cost again", key=key, detail=error.detail)


def key_of(tenant: str, model: str, ask: TextAsk) -> str:
    """Return the key of an answer: all that decides it is in its SHA-256."""
    asked = {"model": model, "system": ask.system, "data": ask.data, "count": ask.count}
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
    return f"{tenant}/texts/{digest}.json"
