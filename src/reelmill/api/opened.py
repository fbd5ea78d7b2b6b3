"""What is open without a key: streams by a pass, shares by their link. The path is the whole authority.

    /streams/{pass}/{name}     a playlist with URLs that live as long as the pass, or any other file of the job;
                               by a source's pass, the video itself
    /share/{token}             a page with a player; no script, nothing from elsewhere but the files
    /share/{token}/{name}      the same files, until the share ends or is revoked

Any origin may read them (CORS `*`), for a player on another site has nothing but the URL.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from html import escape
from posixpath import dirname, join, normpath
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from reelmill.api.access import base_path
from reelmill.api.delivery import qualities, text_of
from reelmill.api.objects import EXPOSED, REQUEST_HEADERS, SignedRoute
from reelmill.api.passes import AUTO, Signer
from reelmill.api.sending import send
from reelmill.api.sources import send_source
from reelmill.errors import NotFound, ReelmillError, SignatureExpired
from reelmill.jobs import playlists, results
from reelmill.jobs.model import Artifact, Job, Share
from reelmill.wiring import App

METHODS = "GET, HEAD, OPTIONS"
LONGEST_TEXT = 500  #: characters of a film's name on the page

files = APIRouter(route_class=SignedRoute, include_in_schema=False)
pages = APIRouter(include_in_schema=False)


# ── files ─────────────────────────────────────────────────────────────────────────────────────


@files.api_route("/streams/{token}/{name:path}", methods=["GET", "HEAD"])
def get_streamed(request: Request, token: str, name: str) -> Response:
    """Hand out one file of a job, or a source, to whoever has a pass.

    Raises SignatureInvalid, SignatureExpired, NotFound, SourceGone.
    """
    app: App = request.app.state.platform
    signer: Signer = request.app.state.signer
    if (video_id := signer.source_of(token)) is not None:
        return send_source(request, app, video_id)
    allowed = signer.verify(token)
    job = app.store.job(allowed.job_id)
    if job.deleted_at is not None:
        raise NotFound(f"There is no job {job.id}.")
    return _file(request, app, job, name, allowed.expires - int(time.time()), allowed.quality)


@files.api_route("/share/{token}/{name:path}", methods=["GET", "HEAD"])
def get_shared(request: Request, token: str, name: str) -> Response:
    """Hand out one file of a shared job. Raises SignatureInvalid, SignatureExpired, NotFound, ResultsGone."""
    app: App = request.app.state.platform
    share, job = _opened(request, token)
    left_s = int(share.expires_at.timestamp() - time.time())
    return _file(request, app, job, name, min(left_s, app.settings.stream_ttl_s), AUTO)


@files.options("/streams/{token}/{name:path}")
@files.options("/share/{token}/{name:path}")
async def preflight() -> Response:
    headers = {
        "Allow": METHODS,
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": REQUEST_HEADERS,
        "Access-Control-Expose-Headers": EXPOSED,
        "Access-Control-Max-Age": "600",
    }
    return Response(status_code=204, headers=headers)


def _opened(request: Request, token: str) -> tuple[Share, Job]:
    """Raises SignatureInvalid, SignatureExpired, NotFound when its video was deleted."""
    app: App = request.app.state.platform
    signer: Signer = request.app.state.signer
    share = app.access.find_share(*signer.share_of(token))
    if share is None:
        raise SignatureExpired("This link has ended, or was revoked.")
    return share, app.store.job(share.job_id, share.tenant)


def _file(request: Request, app: App, job: Job, name: str, left_s: int, quality: str) -> Response:
    made = app.service.results_of(job, early=True)
    artifact = results.named(made, name)
    life_s = max(1, left_s)
    if artifact.kind not in results.PLAYLISTS:
        return send(request, app, artifact, life_s=life_s)
    text = text_of(app, artifact)
    if artifact.kind == results.MASTER and quality != AUTO:
        text = playlists.only(text, quality)
    told = playlists.rewritten(text, artifact.name, _urls(app, made, artifact, life_s))
    return Response(told, media_type=playlists.MEDIA_TYPE, headers={"Cache-Control": "no-store"})


def _urls(app: App, made: Sequence[Artifact], playlist: Artifact, life_s: int) -> Callable[[str], str]:
    """Return what names the files in a playlist: storage's signed URLs, else names below the same path as itself.

    A stored playlist names them by their names, or by where they lie from its own key.
    """
    by_name = {one.name: one for one in made}
    by_key = {one.key: one for one in made}
    known: dict[str, str] = {}  # a playlist names one file hundreds of times
    up = "../" * playlist.name.count("/")

    def url_of(name: str) -> str:
        if name not in known:
            one = by_name.get(name) or by_key.get(normpath(join(dirname(playlist.key), name)))
            if one is None:
                raise NotFound(f"The playlist {playlist.name} names {name!r}, which the job didn't store.")
            signed = None
            if one.kind not in results.PLAYLISTS and app.settings.delivery == "store":
                signed = app.files.url(one, life_s=life_s)
            known[name] = signed or f"{up}{quote(one.name)}"
        return known[name]

    return url_of


# ── the page ──────────────────────────────────────────────────────────────────────────────────

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 Inter, system-ui, sans-serif;
  --bg: light-dark(#fafafc, #0e0f12); --text: light-dark(#1a1b21, #ececf1); --dim: light-dark(#5b5c6b, #a0a1b0);
  --line: light-dark(#e4e4eb, #26272f); --card: light-dark(#fff, #16171c); --accent: light-dark(#4c4cc4, #a9a9f2) }
* { box-sizing: border-box }
body { margin: 0; min-height: 100dvh; display: flex; flex-direction: column; background: var(--bg); color: var(--text) }
main { width: min(72rem, 100%); margin: 0 auto; padding: clamp(.75rem, 3vw, 2rem); flex: 1 }
h1 { margin: 0 0 1rem; font-size: 1.125rem; font-weight: 600; letter-spacing: -.01em; overflow-wrap: anywhere }
video { display: block; width: 100%; max-height: 82dvh; background: #000; border-radius: .75rem }
figure { margin: 0 0 1.5rem }
figcaption { padding: .5rem .125rem 0; font-size: .875rem; color: var(--dim); overflow-wrap: anywhere }
nav { display: flex; flex-wrap: wrap; gap: .5rem }
nav a { min-width: 4rem; padding: .5rem .875rem; border: 1px solid var(--line); border-radius: .5rem;
  background: var(--card); color: var(--text); font-size: .875rem; text-align: center; text-decoration: none }
nav a:hover { border-color: var(--accent) }
nav a[aria-current] { border-color: var(--accent); color: var(--accent); font-weight: 600 }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
.said { padding: 1.25rem; border: 1px solid var(--line); border-radius: .75rem; background: var(--card) }
footer { padding: 1rem; text-align: center; font-size: .8125rem; color: var(--dim) }
@media (max-width: 40rem) { main { padding: 0 } h1 { padding: .875rem 1rem 0 } video { border-radius: 0 }
  figcaption, nav { padding-inline: 1rem } .said { margin: 1rem } }
"""


@pages.get("/share/{token}")
def get_page(request: Request, token: str, quality: str = AUTO) -> HTMLResponse:
    """Show a shared job's films in a page that stands by itself; a link that has ended says so."""
    app: App = request.app.state.platform
    try:
        share, job = _opened(request, token)
        made = app.service.results_of(job)
        shown = _shown(app, made, f"{base_path(request)}/share/{token}", quality)
        title = app.store.video(job.video_id).filename[:LONGEST_TEXT]
    except ReelmillError as problem:
        if problem.status_code >= 500:
            raise
        said = f'<p class="said">{escape(problem.detail)}<br>Ask whoever sent it for a new link.</p>'
        return _page("Not to be seen", said, status=problem.status_code)
    return _page(title, shown, sources=_origins(app, made), framed=share.embed)


def _page(
    title: str, body: str, *, status: int = 200, sources: Sequence[str] = (), framed: Sequence[str] = ()
) -> HTMLResponse:  # fmt: skip
    text = f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">
<style>{STYLE}</style></head><body><main><h1>{escape(title)}</h1>{body}</main>
<footer>Shared by Reelmill</footer></body></html>"""
    where = " ".join(["'self'", *sources])
    frames = " ".join(framed) or "'none'"
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src {where}; media-src {where}; base-uri 'none'; "
        f"form-action 'none'; frame-ancestors {frames}"
    )
    headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    return HTMLResponse(text, status, headers)


def _origins(app: App, made: Sequence[Artifact]) -> list[str]:
    """Return the other hosts that the files come from."""
    urls = [urlsplit(url) for one in made[:1] if (url := app.files.url(one))]
    return [f"{url.scheme}://{url.netloc}" for url in urls if app.settings.delivery == "store"]


def _shown(app: App, made: list[Artifact], base: str, quality: str) -> str:
    master = results.of_kind(made, results.MASTER)
    by_quality = results.by_quality(made)
    levels = [name for name in qualities(app, made) if name in by_quality] if master or len(by_quality) > 1 else []
    poster = results.picture(made)
    if master is None and len({results.quality(one) for one in by_quality.values()}) < len(by_quality):
        return "".join(_player([_source(base, one)], _still(base, made, one), one.name) for one in by_quality.values())
    # What plays the adaptive stream by itself takes the first; what can't, a file.
    chosen = [by_quality[quality]] if quality in by_quality else sorted(by_quality.values(), key=_fits, reverse=True)
    first = [f'<source src="{base}/{quote(master.name)}" type="{playlists.MEDIA_TYPE}">'] if master else []
    sources = [*(first if quality == AUTO else []), *(_source(base, one) for one in chosen)]
    if not sources:
        raise NotFound("The job made no film to be seen.")
    links = "".join(
        f'<a href="{base}?quality={escape(name)}"{" aria-current=true" if name == quality else ""}>{escape(name)}</a>'
        for name in [AUTO, *levels]
    )
    picture = f"{base}/{quote(poster.name)}" if poster else None
    return _player(sources, picture) + (f'<nav aria-label="Quality">{links}</nav>' if levels else "")


def _fits(film: Artifact) -> tuple[bool, float]:
    """Order films by how well they suit a page: 720p first, then what is less, then what is more."""
    height = results.number(film, "height") or 0.0
    return height <= 720, height if height <= 720 else -height


def _source(base: str, film: Artifact) -> str:
    return f'<source src="{base}/{quote(film.name)}" type="{escape(film.content_type)}">'


def _still(base: str, made: Sequence[Artifact], film: Artifact) -> str | None:
    still = next((one for one in made if one.kind == "thumbnail" and one.meta.get("of") == film.name), None)
    return f"{base}/{quote(still.name)}" if still else None


def _player(sources: Sequence[str], poster: str | None, caption: str = "") -> str:
    still = f' poster="{escape(poster)}"' if poster else ""
    under = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    preload = "none" if caption else "metadata"  # of many, each only when it is played
    return f'<figure><video controls playsinline preload="{preload}"{still}>{"".join(sources)}</video>{under}</figure>'
