"""Uploads in parts: which parts a file has, which have arrived, and the one object that they become.

The object store is the ledger: what it lists has arrived, from whatever process or device it came. The video's row
holds the size of a part and the storage's own id of what is under way; that id may end (expired, aborted, lost by the
store) and another takes its place, which the row settles by a guarded write.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from reelmill.errors import MultipartGone, ObjectMissing, RequestInvalid, TransitionRefused, UploadMissing
from reelmill.jobs.lifecycle import UploadStatus
from reelmill.jobs.model import ObjectInfo, SignedRequest, StoredPart, Video
from reelmill.jobs.ports import JobStore, ObjectStore

OPEN_UPLOADS = frozenset({UploadStatus.AWAITING, UploadStatus.EXPIRED})  # may still be completed
MIB = 1 << 20
TOLD = 100  #: missing parts that an error names for machines; people are told of the first TOLD_SHORT
TOLD_SHORT = 10


@dataclass(frozen=True, slots=True)
class PartRequest:
    """The request that sends one part."""

    number: int  #: from 1
    size_bytes: int
    request: SignedRequest


class Parts:
    """The parts of uploads, for one store and one object store."""

    def __init__(self, store: JobStore, objects: ObjectStore, *, part_bytes: int, upload_ttl_s: float) -> None:
        """part_bytes: of a part, unless an upload asks for another size or has too many."""
        self.store = store
        self.objects = objects
        self.part_bytes = part_bytes
        self.upload_ttl_s = upload_ttl_s

    def size(self, size_bytes: int, asked: int | None) -> int:
        """Return the bytes of each part but the last. Raises RequestInvalid."""
        limits = self.objects.limits
        least = max(limits.part_min_bytes, -(-size_bytes // limits.part_count))
        if asked is None:
            return max(self.part_bytes, -(-least // MIB) * MIB)
        if not least <= asked <= limits.part_max_bytes:
            raise _faulty("part_size", f"it must be {least} to {limits.part_max_bytes} bytes for this file")
        return asked

    def sign(self, video: Video, wanted: Mapping[int, str | None], *, expires_s: int) -> list[PartRequest]:
        """Return the requests that send these parts; `wanted` has their SHA-256 in hex, or None.

        Parts that were given up begin anew. Raises RequestInvalid, TransitionRefused.
        """
        if video.part_size is None:
            raise _faulty("parts", "this upload isn't one in parts: send it by the PUT of GET /uploads/{video_id}")
        if video.upload_status not in OPEN_UPLOADS:
            raise TransitionRefused(f"The upload is {video.upload_status}: it wants no parts.")
        count = part_count(video)
        for number in wanted:
            if not 1 <= number <= count:
                raise _faulty("parts", f"there is no part {number}; the file has {count}")
        multipart_id = video.multipart_id or self._begin(video)
        signed = []
        for number, sha256 in wanted.items():
            size = min(video.part_size, video.size_bytes - (number - 1) * video.part_size)
            request = self.objects.sign_part(
                video.key, multipart_id, number, size_bytes=size, sha256=sha256, expires_s=expires_s
            )
            signed.append(PartRequest(number, size, request))
        return signed

    def arrived(self, video: Video) -> list[StoredPart]:
        """Return the parts that have arrived; when the storage has lost them all, the next `sign` begins anew."""
        if video.multipart_id is None:
            return []
        try:
            return self.objects.list_parts(video.key, video.multipart_id)
        except MultipartGone:
            with suppress(ObjectMissing):
                self.objects.head(video.key)
                return []  # joined already
            with suppress(TransitionRefused):
                self.store.set_multipart(video.id, was=video.multipart_id, to=None)
            return []

    def whole(self, video: Video) -> bool:
        """Tell whether everything has arrived; nothing is joined. Raises StorageProblem."""
        try:
            self.objects.head(video.key)
        except ObjectMissing:
            return video.part_size is not None and len(self.arrived(video)) == part_count(video)
        return True

    def joined(self, video: Video) -> ObjectInfo:
        """Return the object, its parts joined if that wasn't done. Raises UploadMissing with `missing_parts`."""
        try:
            return self.objects.head(video.key)
        except ObjectMissing as missing:
            if video.part_size is None:
                raise UploadMissing from missing
        arrived = self.arrived(video)
        lost = sorted(set(range(1, part_count(video) + 1)) - {part.number for part in arrived})
        try:
            if lost or video.multipart_id is None:
                return self.objects.head(video.key)  # somebody else may have joined them just now
            return self.objects.complete_multipart(video.key, video.multipart_id, arrived)
        except (ObjectMissing, MultipartGone) as missing:
            shown = ", ".join(map(str, lost[:TOLD_SHORT])) + (" …" if len(lost) > TOLD_SHORT else "")
            told = f"{UploadMissing.what}: {len(lost)} of {part_count(video)} parts haven't arrived ({shown})."
            raise UploadMissing(told, missing_parts=lost[:TOLD]) from missing

    def drop(self, video: Video) -> None:
        """Free what the parts of an upload that wants no bytes any more take in storage. Raises StorageProblem."""
        if video.multipart_id is not None:
            self.objects.abort_multipart(video.key, video.multipart_id)
            with suppress(TransitionRefused):  # somebody else did it, or began anew
                self.store.set_multipart(video.id, was=video.multipart_id, to=None)

    def adopt(self, video: Video, multipart_id: str) -> None:
        """Make an id that the client began by itself the upload's own. Raises TransitionRefused."""
        if multipart_id != video.multipart_id:
            self.store.set_multipart(video.id, was=video.multipart_id, to=multipart_id, upload_ttl_s=self.upload_ttl_s)
            if video.multipart_id is not None:
                self.objects.abort_multipart(video.key, video.multipart_id)

    def _begin(self, video: Video) -> str:
        """Begin an upload in parts and record its id; of several that begin at once, one wins."""
        assert video.part_size is not None
        made = self.objects.begin_multipart(
            video.key, size_bytes=video.size_bytes, part_size=video.part_size, content_type=video.content_type
        )
        try:
            self.store.set_multipart(video.id, was=None, to=made, upload_ttl_s=self.upload_ttl_s)
        except TransitionRefused:
            self.objects.abort_multipart(video.key, made)
            winner = self.store.video(video.id).multipart_id
            if winner is None:
                raise
            return winner
        return made


def part_count(video: Video) -> int:
    """Return how many parts a video's file has; 1 for a single PUT."""
    return 1 if video.part_size is None else -(-video.size_bytes // video.part_size)


def _faulty(field: str, message: str) -> RequestInvalid:
    return RequestInvalid(f"{field}: {message}.", errors=[{"field": field, "message": message}])
