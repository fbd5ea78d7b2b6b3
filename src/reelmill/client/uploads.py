"""Send a file so that nothing ends it but its arrival: parallel checksummed parts, tried again, resumed by anybody.

The server's storage is the ledger of what has arrived. A client that was killed asks for it, checks what is there
against the file, and sends the rest. A file goes through memory in small blocks; each part is read twice, to be hashed
and to be sent right after that, the second time from the system's cache.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Any, Literal, TypeVar

from reelmill.client.records import Record, Slot
from reelmill.client.wire import LONG_S, Again, Wire
from reelmill.errors import (
    BodyMismatch,
    MultipartGone,
    NotFound,
    ObjectExists,
    ObjectMissing,
    ReelmillError,
    SignatureExpired,
    SignatureInvalid,
    SourceChanged,
    Stopped,
    TransitionRefused,
    UploadMismatch,
    UploadMissing,
)
from reelmill.schemas import InitiateReply, JobCreatedResponse, PartsReply, Upload, UploadReply

BLOCK = 256 << 10  #: bytes read and sent at once
EDGE = 1 << 20
WHOLE_BYTES = 32 << 20  #: a larger file goes in parts
TELL_S = 0.1
ROUNDS = 3  #: times that all which is missing is sent
RENEWALS = 5  #: tries in a row with a new URL each
OPEN = frozenset({"awaiting", "expired"})  #: may still be completed

# After these the URL is of no use any more; a new one may work, if the file is still the same.
USED_UP = (SignatureExpired, SignatureInvalid, BodyMismatch, MultipartGone, ObjectMissing)

Phase = Literal["hashing", "sending", "verifying"]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """How far an upload is."""

    sent_bytes: int  #: of the phase: hashed, or arrived and under way; falls back when a connection breaks
    total_bytes: int
    phase: Phase  #: hashing: what is compared or announced; verifying: the server looks at the whole


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A file that has arrived and was verified."""

    video_id: str
    job_id: str | None
    status: str  #: the job's; the upload's, if there is no job
    message: str
    size: int  #: bytes
    resumed_bytes: int  #: of these, how many had arrived before


Tell = Callable[[UploadProgress], None]


class Source:
    """A file that is being sent. Whoever reads it learns when it isn't the same any more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
        self.size = found.st_size
        self.mtime_ns = found.st_mtime_ns

    def blocks(self, start: int, length: int) -> Iterator[bytes]:
        """Yield `length` bytes from `start`. Raises SourceChanged."""
        with self._opened() as file:
            file.seek(start)
            while length:
                block = file.read(min(BLOCK, length))
                if not block:
                    raise self._changed()
                length -= len(block)
                yield block

    def edges(self) -> str:
        """Return the SHA-256 of the first and the last MiB."""
        digest = hashlib.sha256()
        for start in (0, max(0, self.size - EDGE)):
            for block in self.blocks(start, min(EDGE, self.size)):
                digest.update(block)
        return digest.hexdigest()

    def check(self) -> None:
        """Raises SourceChanged."""
        with self._opened():
            pass

    @contextmanager
    def _opened(self) -> Iterator[FileIO]:
        with self.path.open("rb", buffering=0) as file:
            found = os.fstat(file.fileno())
            if (found.st_size, found.st_mtime_ns) != (self.size, self.mtime_ns):
                raise self._changed()
            yield file

    def _changed(self) -> SourceChanged:
        return SourceChanged(f"{self.path} isn't the file any more that it was when its upload began.")


def upload(
    wire: Wire,
    slot: Slot,
    path: Path,
    asked: dict[str, Any],
    *,
    parallel: int,
    part_size: int | None,
    tell: Tell | None,
) -> Uploaded:
    """Upload a file, going on with what the slot remembers of it. asked: the fields of initiate beside the file's."""
    source = Source(path)
    sending = Sending(wire, source, parallel=parallel, tell=tell)
    wanted = Record(
        video_id="",
        url=wire.url,
        path=str(path.absolute()),
        size=source.size,
        mtime_ns=source.mtime_ns,
        edges=source.edges(),
        asked=hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest(),
    )
    known, there = slot.read(), None
    if known is not None and replace(known, video_id="") == wanted:
        there = sending.standing(known.video_id)
    if there is None:
        there = sending.begin(asked, part_size)
        slot.write(replace(wanted, video_id=there.video_id))
    done = sending.finish(there)
    slot.clear()
    return done


def resume(wire: Wire, video_id: str, path: Path, *, parallel: int, tell: Tell | None) -> Uploaded:
    """Go on with an upload that somebody else began. Raises NotFound, UploadMismatch."""
    source = Source(path)
    there = Standing.of(wire.call(UploadReply, "GET", f"/uploads/{video_id}"))
    if there.size != source.size:
        raise UploadMismatch(f"{path} has {source.size} bytes; {there.size} were announced.")
    return Sending(wire, source, parallel=parallel, tell=tell).finish(there)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an upload stands on the server."""

    video_id: str
    size: int
    status: str
    put: Upload | None  #: what sends the whole file
    part_size: int | None
    arrived: dict[int, tuple[int, str | None]]  #: size and SHA-256 of the parts that are there, by number
    arrived_bytes: int

    @classmethod
    def of(cls, reply: UploadReply) -> Standing:
        return cls(
            video_id=reply.video_id,
            size=reply.size,
            status=reply.upload_status,
            put=reply.upload,
            part_size=reply.part_size,
            arrived={part.number: (part.size, part.sha256) for part in reply.parts},
            arrived_bytes=reply.arrived_bytes or 0,
        )

    @classmethod
    def begun(cls, reply: InitiateReply, size: int) -> Standing:
        put, part_size = (reply.upload, None) if isinstance(reply.upload, Upload) else (None, reply.upload.part_size)
        return cls(
            video_id=reply.video_id,
            size=size,
            status="awaiting",
            put=put,
            part_size=part_size,
            arrived={},
            arrived_bytes=0,
        )


class Sending:
    """One file on its way: how much of it has gone, and the flag that stops its threads."""

    def __init__(self, wire: Wire, source: Source, *, parallel: int, tell: Tell | None) -> None:
        self._wire = wire
        self._source = source
        self._parallel = parallel
        self._tell = tell
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._phase: Phase = "hashing"
        self._done = 0

    def begin(self, asked: dict[str, Any], part_size: int | None) -> Standing:
        """Announce the file. Raises RequestInvalid, ParamsInvalid, PipelineUnknown."""
        size = self._source.size
        body = {"filename": self._source.path.name, "size": size, **asked}
        if size > (part_size or WHOLE_BYTES):
            body |= {"multipart": True, "part_size": part_size}
        else:
            self._enter("hashing", 0)
            with self._counted(0, size) as blocks:
                body |= {"sha256": _digest(blocks)}
        return Standing.begun(self._wire.make(InitiateReply, "/uploads/initiate", json=body), size)

    def standing(self, video_id: str) -> Standing | None:
        """Return where an upload of ours stands; None when it can't be gone on with."""
        try:
            there = Standing.of(self._wire.call(UploadReply, "GET", f"/uploads/{video_id}"))
        except NotFound:
            return None
        return there if there.status in {*OPEN, "uploaded"} and there.size == self._source.size else None

    def finish(self, there: Standing) -> Uploaded:
        """Send what is missing until the server says that it has all. Raises UploadProblem, StorageProblem."""
        before = there.arrived_bytes
        for left in reversed(range(ROUNDS)):
            try:
                if there.status in OPEN:
                    if there.part_size is None:
                        self._send_whole(there)
                    else:
                        before = min(before, self._send_missing(there, there.part_size))
                done = self._complete(there.video_id)
            except (UploadMissing, TransitionRefused):  # parts that storage has lost; or somebody else completes it
                if not left:
                    raise
                there = self._asked(Again(self._wire.patience_s), there.video_id)
                continue
            return Uploaded(done.video_id, done.job_id, done.status, done.message, self._source.size, before)
        raise AssertionError("the last round returns or raises")

    def _complete(self, video_id: str) -> JobCreatedResponse:
        self._source.check()
        self._enter("verifying", self._source.size)
        again = Again(self._wire.patience_s, self._stop)
        body = {"video_id": video_id}
        return self._wire.insist(again, JobCreatedResponse, "POST", "/uploads/complete", json=body, timeout=LONG_S)

    def _asked(self, again: Again, video_id: str) -> Standing:
        return Standing.of(self._wire.insist(again, UploadReply, "GET", f"/uploads/{video_id}"))

    # ── in one piece ──────────────────────────────────────────────────────────────────────────

    def _send_whole(self, there: Standing) -> None:
        self._enter("sending", 0)
        self._each([there], self._put_whole)

    def _put_whole(self, there: Standing) -> None:
        again = Again(self._wire.patience_s, self._stop)
        while there.put is not None and there.arrived_bytes != there.size:
            try:
                with self._counted(0, there.size) as body:
                    self._wire.put(there.put, there.size, body, timeout_s=LONG_S)
                return
            except ObjectExists:  # an earlier try has arrived; its reply was lost
                return
            except USED_UP as error:
                self._source.check()
                again.wait(error, most=RENEWALS)
            except ReelmillError as error:
                again.wait(error)
            there = self._asked(again, there.video_id)

    # ── in parts ──────────────────────────────────────────────────────────────────────────────

    def _send_missing(self, there: Standing, part_size: int) -> int:
        """Send every part that isn't there as the file has it; return the bytes of those that are."""
        places = {
            number: (start, min(part_size, there.size - start))
            for number, start in enumerate(range(0, there.size, part_size), 1)
        }
        good: dict[int, int] = {}

        def compare(number: int) -> None:
            start, length = places[number]
            size, sha256 = there.arrived[number]
            with self._counted(start, length) as blocks:
                if size == length and (sha256 is None or sha256 == _digest(blocks)):
                    good[number] = length

        if there.arrived:
            self._enter("hashing", 0)
            self._each([number for number in places if number in there.arrived], compare)
        self._enter("sending", sum(good.values()))
        missing = [number for number in places if number not in good]
        self._each(missing, lambda number: self._put_part(there.video_id, number, *places[number]))
        return sum(good.values())

    def _put_part(self, video_id: str, number: int, start: int, length: int) -> None:
        """Send one part until it has arrived. An expired URL, or storage that has begun anew, gets a new one."""
        again = Again(self._wire.patience_s, self._stop)
        sha256 = _digest(self._stoppable(start, length))
        body = {"parts": [{"number": number, "sha256": sha256}]}
        while True:
            try:
                (signed,) = self._wire.ask(PartsReply, "POST", f"/uploads/{video_id}/parts", json=body).parts
                with self._counted(start, length) as blocks:
                    self._wire.put(signed, length, blocks)
                return
            except USED_UP as error:
                self._source.check()
                again.wait(error, most=RENEWALS)
                self._asked(again, video_id)  # the server looks whether its storage has lost the upload
            except ReelmillError as error:
                again.wait(error)

    # ── parts of all this ─────────────────────────────────────────────────────────────────────

    def _each(self, items: Iterable[Item], work: Callable[[Item], None]) -> None:
        """Do the work for each item, `parallel` at a time, telling how far it is. The first error ends all."""
        queue = deque(items)

        def worker() -> None:
            while not self._stop.is_set():
                try:
                    item = queue.popleft()
                except IndexError:
                    return
                work(item)

        self._stop.clear()
        with ThreadPoolExecutor(self._parallel, "reelmill-upload") as pool:
            try:
                busy = {pool.submit(worker) for _ in range(min(self._parallel, len(queue)))}
                while busy:
                    ended, busy = wait_for(busy, TELL_S, FIRST_EXCEPTION)
                    self._say()
                    for one in ended:
                        one.result()
            except BaseException:
                self._stop.set()
                raise

    @contextmanager
    def _counted(self, start: int, length: int) -> Iterator[Iterator[bytes]]:
        """Yield the blocks of a part, which count as done; when it fails they don't."""
        count = 0

        def blocks() -> Iterator[bytes]:
            nonlocal count
            for block in self._stoppable(start, length):
                yield block
                count += len(block)
                self._add(len(block))

        try:
            yield blocks()
        except BaseException:
            self._add(-count)
            raise

    def _stoppable(self, start: int, length: int) -> Iterator[bytes]:
        for block in self._source.blocks(start, length):
            if self._stop.is_set():
                raise Stopped
            yield block

    def _add(self, count: int) -> None:
        with self._lock:
            self._done += count

    def _enter(self, phase: Phase, done: int) -> None:
        with self._lock:
            self._phase, self._done = phase, done
        self._say()

    def _say(self) -> None:
        if self._tell is not None:
            with self._lock:
                progress = UploadProgress(self._done, self._source.size, self._phase)
            self._tell(progress)


def content_type_of(path: Path) -> str:
    """Return the media type that a file's name suggests."""
    guessed, encoding = mimetypes.guess_type(path.name)
    return guessed if guessed and not encoding else "application/octet-stream"


def _digest(blocks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()
