"""One artifact to one client: by a redirect to its signed URL, through this server, or by the proxy in front of us."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from reelmill.api.objects import accelerated
from reelmill.api.ranges import answer
from reelmill.errors import NotReady
from reelmill.jobs.files import Files
from reelmill.jobs.model import Artifact, ObjectInfo
from reelmill.objects.folder import FolderStore
from reelmill.objects.names import disposition
from reelmill.wiring import App

Via = Literal["store", "api"]


class StoredSource:
    """A file's bytes, wherever they are. All but the bytes is told by its row."""

    def __init__(self, files: Files, info: ObjectInfo) -> None:
        self._files = files
        self.info = info

    def blocks(self, start: int, length: int) -> Iterator[bytes]:
        yield from self._files.open(self.info.key, start, length)

    def close(self) -> None:
        pass


def send(
    request: Request,
    app: App,
    artifact: Artifact,
    *,
    attachment: bool = False,
    via: Via | None = None,
    headers: Mapping[str, str] | None = None,
    life_s: int | None = None,
) -> Response:
    """Return the reply to a GET or HEAD of an artifact. life_s: of a signed URL, in seconds.

    HEAD is answered by ourselves: S3 takes a URL that was signed for GET for nothing else.
    Raises NotReady of a file in another machine's spool, RangeUnsatisfiable, StorageProblem.
    """
    if not app.files.is_near(artifact):
        raise NotReady(f"{artifact.name} is kept on another machine until storage answers.")
    if request.method == "GET" and (via or app.settings.delivery) == "store":
        url = app.files.url(artifact, attachment=attachment, life_s=life_s)
        assert url is not None, "it is near"
        return RedirectResponse(url, status_code=307, headers={"Cache-Control": "no-store"})
    told = {
        "Content-Type": artifact.content_type,
        "Content-Disposition": disposition(artifact.name if attachment else None),
        "Cache-Control": "private, no-cache",
        **(headers or {}),
    }
    info = ObjectInfo(
        key=artifact.key,
        size_bytes=artifact.size_bytes,
        sha256=artifact.sha256,
        content_type=artifact.content_type,
        modified_at=artifact.created_at,
        etag=f'"{artifact.sha256}"',
    )
    return through_us(request, app, StoredSource(app.files, info), told, stored=artifact.place == "stored")


def through_us(
    request: Request, app: App, source: StoredSource, headers: Mapping[str, str], *, stored: bool
) -> Response:
    """Return the reply to a GET or HEAD of a file by this server, or by the proxy in front of it.

    stored: whether it is in the object store, not in a spool. Raises RangeUnsatisfiable, StorageProblem.
    """
    accel = app.settings.accel
    if accel is not None and request.method == "GET" and stored and isinstance(app.objects, FolderStore):
        return accelerated(accel, source.info.key, source, headers)
    return answer(request.method, request.headers, source, headers)
