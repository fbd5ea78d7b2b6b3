"""The web UI: a folder of built files in the package. Its pages are named here; nothing else of the server is hidden.

`make web` builds it from web/. Files below /assets have their content's hash in their name and never change;
every page is the same small document, whose `<base>` is what precedes our paths in the browser.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from reelmill.api.access import base_path
from reelmill.errors import NotFound
from reelmill.wiring import App

FOLDER = Path(__file__).parent.parent / "web"
PAGES = (
    "/",
    "/sign-in",
    "/welcome",
    "/videos/{id:uuid}",
    "/videos/{id:uuid}/cut",
    "/videos/{id:uuid}/run",
    "/jobs",
    "/jobs/{id:uuid}",
    "/generate",
    "/presets",
    "/keys",
    "/system",
)
LOOSE = ("icon.svg", "theme.js")  #: files that pages name without a hash
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2"}
BASE = '<base href="/" />'
YEAR_S = 31_536_000
NOT_BUILT = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Reelmill</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
</head><body style="font:16px/1.5 system-ui;max-width:40rem;margin:3rem auto;padding:0 1rem">
<h1 style="font-size:1.25rem">The web UI isn't built</h1>
<p>The API runs; its operations are in <a href="docs">/docs</a>.</p>
<p>This is a checkout: <code>make web</code> builds the pages, then load this one again. The wheel has them built.</p>
</body></html>"""

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class File:
    """A built file, as it is sent."""

    content: bytes
    packed: bytes | None  #: by gzip
    media_type: str
    etag: str


def _page(request: Request) -> Response:
    """Show the UI; which page, its script reads from the address."""
    document = FOLDER / "index.html"
    if not document.is_file():
        return HTMLResponse(
            NOT_BUILT, headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        )
    file = _document(document, document.stat().st_mtime_ns, f"{base_path(request)}/")
    app: App = request.app.state.platform
    return _sent(request, file, {"Cache-Control": "no-cache", **_policy(app)})


for _path in PAGES:
    router.add_api_route(_path, _page, methods=["GET", "HEAD"], name="page")


@router.api_route("/assets/{name}", methods=["GET", "HEAD"])
def get_asset(request: Request, name: str) -> Response:
    """Hand out a file whose name has its hash."""
    file = _file(FOLDER / "assets" / name) if name in _names(FOLDER / "assets") else None
    if file is None:
        raise NotFound(f"There is no {request.url.path}.")
    return _sent(request, file, {"Cache-Control": f"public, max-age={YEAR_S}, immutable"})


def _loose(request: Request) -> Response:
    file = _file(FOLDER / request.url.path.rpartition("/")[2]) if FOLDER.is_dir() else None
    if file is None:
        raise NotFound(f"There is no {request.url.path}.")
    return _sent(request, file, {"Cache-Control": "no-cache"})


for _name in LOOSE:
    router.add_api_route(f"/{_name}", _loose, methods=["GET", "HEAD"], name="loose")


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix != ".gz"} if folder.is_dir() else set()


def _file(path: Path) -> File | None:
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else None


@cache
def _read(path: Path, _changed_ns: int) -> File:
    content = path.read_bytes()
    packed = path.with_name(path.name + ".gz")
    media_type = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return File(content, packed.read_bytes() if packed.is_file() else None, media_type, _etag(content))


@cache
def _document(path: Path, _changed_ns: int, base: str) -> File:
    content = path.read_text().replace(BASE, BASE.replace('"/"', f'"{base}"')).encode()
    return File(content, gzip.compress(content, mtime=0), "text/html; charset=utf-8", _etag(content))


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:20]}"'


def _sent(request: Request, file: File, headers: dict[str, str]) -> Response:
    headers = {**headers, "ETag": file.etag, "Vary": "Accept-Encoding", "Referrer-Policy": "no-referrer"}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = file.content
    if file.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        content, headers["Content-Encoding"] = file.packed, "gzip"
    return Response(content, media_type=file.media_type, headers=headers)


def _policy(app: App) -> dict[str, str]:
    """Scripts from here alone. Styles that components set while they are shown are inline; films and parts go to
    storage, which may be another host."""
    parts = urlsplit(app.objects.generate_presigned_download_url(app.objects.bucket, "any", 60))
    stored = f"{parts.scheme}://{parts.netloc}"
    policy = (
        "default-src 'none'; script-src 'self'; worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
        f"font-src 'self'; img-src 'self' data: blob: {stored}; media-src 'self' blob: {stored}; "
        f"connect-src 'self' {stored}; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    )
    return {"Content-Security-Policy": policy, "X-Frame-Options": "DENY"}
