"""The HTTP API as one ASGI app. It serves a platform that its caller has built, starts and stops."""

from __future__ import annotations

import json
import time
from html import escape
from typing import Any

from anyio import CapacityLimiter
from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute

from reelmill import __version__
from reelmill.api import (
    access,
    admin,
    aliases,
    audit,
    browser,
    cors,
    delivery,
    errors,
    events,
    fonts,
    generating,
    health,
    jobs,
    metrics,
    opened,
    presets,
    proxied,
    sources,
    system,
    texts,
    uploads,
    videos,
    web,
    workers,
)
from reelmill.api.access import SECURITY_SCHEMES
from reelmill.api.kept import Kept
from reelmill.api.keyring import KeyRing
from reelmill.api.limits import Limits
from reelmill.api.objects import router as object_routes
from reelmill.api.passes import Signer
from reelmill.api.signin import KeySessions, SignIn
from reelmill.api.thumbnails import Thumbnails
from reelmill.objects.folder import FolderStore, Grant
from reelmill.schemas import Problem
from reelmill.wiring import App

DESCRIPTION = """Videos straight into storage, turned by pipelines into clips and more, handed out by signed URLs.

1. `POST /api/v1/uploads/initiate` announces a file and gives a signed PUT; send the file there.
2. `POST /api/v1/uploads/complete` verifies it and queues its job.
3. `GET /api/v1/jobs/{job_id}/events` follows the job; `…/status` has the signed URLs of its results.

Every error is problem+json (RFC 9457) with a stable `code` and a `remedy`.
A POST with an `Idempotency-Key` can be repeated safely. Unknown fields are refused."""

COMPLETING = 16  #: uploads that are verified at a time

TAGS = [
    {"name": "uploads", "description": "Send a file straight to storage."},
    {"name": "videos", "description": "What was uploaded."},
    {"name": "jobs", "description": "Run pipelines on videos and take the results."},
    {"name": "pipelines", "description": "What can be run."},
    {"name": "texts", "description": "Variations, previews and looks of texts; voices."},
    {"name": "keys", "description": "API keys and their scopes."},
    {"name": "audit", "description": "Who did what to keys and uploads."},
    {"name": "admin", "description": "What operators do: workers, switches, many jobs at once, what failed, usage."},
    {"name": "health", "description": "For load balancers and orchestrators; no key needed."},
    aliases.TAG,
]


def create_app(app: App, *, signin: SignIn | None = None) -> FastAPI:
    """Return the API of a platform. The caller starts the platform before serving and stops it afterwards.

    signin: lets the person at this machine's browser in without a key.
    """
    api = FastAPI(
        title="Reelmill",
        version=__version__,
        summary="The self-hosted video job platform.",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    api.state.platform = app
    app.tell_platform()
    api.state.signin = signin
    api.state.sessions = KeySessions(app.access.signing_secret)
    api.state.keyring = KeyRing(app.access)
    api.state.limits = Limits(app.settings.rate_limit)
    api.state.readiness = health.Readiness(app)
    api.state.report = system.Report(app)
    api.state.signer = Signer(app.access.signing_secret)
    kept = Kept(app.settings.data / "cache" / "pictures", app.settings.pictures_mb << 20)
    api.state.thumbnails = Thumbnails(kept)
    api.state.overviews = sources.Overviews(app, kept)
    api.state.completing = CapacityLimiter(COMPLETING)
    api.state.varying = CapacityLimiter(texts.VARYING)
    api.state.previewing = CapacityLimiter(texts.PREVIEWING)
    errors.install(api, app.observer)
    cors.install(api, app.settings.cors_origins)  # last: around what is refused, too
    proxied.install(api, app.settings.public_url)  # but for this one: all others see our own paths
    # First: a film is asked for in hundreds of parts, and each router before this one would look at each request.
    if isinstance(app.objects, FolderStore):
        api.include_router(object_routes(app.objects, accel=app.settings.accel))
    if isinstance(app.files.spool, FolderStore):
        api.include_router(object_routes(app.files.spool, elsewhere=lambda grant: _stored(app, grant)))
    for routes in (
        uploads.router,
        generating.router,
        generating.voices,
        videos.router,
        sources.router,
        jobs.router,
        delivery.router,
        events.router,
        events.all_routes,
        jobs.pipelines,
        texts.router,
        presets.router,
        fonts.router,
        access.router,
        admin.router,
        admin.usage_routes,
        audit.router,
        system.router,
        workers.router,
        health.router,
        metrics.router,
        aliases.router,
        opened.pages,
        opened.files,
        browser.router,
        web.router,
    ):
        api.include_router(routes)
    if signin is not None:
        api.include_router(browser.by_link)
    api.add_api_route("/docs", _docs, methods=["GET"], include_in_schema=False)
    api.openapi = lambda: _openapi(api)  # type: ignore[method-assign]
    return api


def _stored(app: App, grant: Grant) -> str:
    """Return where a file went that a URL of the spool was signed for: it lives on as long as that would have."""
    return app.objects.generate_presigned_download_url(
        app.objects.bucket,
        grant.key,
        max(1, grant.expires - int(time.time())),
        filename=grant.filename,
        content_type=grant.response_type,
    )


def _operation_id(route: APIRoute) -> str:
    return route.name


def _openapi(api: FastAPI) -> dict[str, Any]:
    if api.openapi_schema is None:
        document = get_openapi(
            title=api.title,
            version=api.version,
            summary=api.summary,
            description=api.description,
            routes=api.routes,
            tags=api.openapi_tags,
            license_info=api.license_info,
            servers=api.servers,
        )
        components = document.setdefault("components", {})
        components["securitySchemes"] = SECURITY_SCHEMES
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        components["schemas"] |= problem.pop("$defs", {}) | {"Problem": problem}
        for unused in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(unused, None)
        api.openapi_schema = document
    return api.openapi_schema


# ── /docs: one page, nothing from elsewhere, no script ────────────────────────────────────────

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
pre, code { font: .875rem/1.45 ui-monospace, monospace }
pre { overflow-x: auto; padding: .75rem; border: 1px solid color-mix(in srgb, currentColor 25%, transparent) }
article { border-top: 1px solid color-mix(in srgb, currentColor 25%, transparent); padding: .5rem 0 }
h3 { font-size: 1rem; margin: .5rem 0 } h3 b { display: inline-block; min-width: 4.5rem }
table { border-collapse: collapse } td, th { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top }
"""


def _docs(request: Request) -> HTMLResponse:
    """Show every operation of /openapi.json."""
    document = request.app.openapi()
    sections = []
    for tag in document["tags"]:
        shown = [
            _operation(method.upper(), path, operation, document)
            for path, item in document["paths"].items()
            for method, operation in item.items()
            if tag["name"] in operation.get("tags", ())
        ]
        sections.append(f"<h2>{escape(tag['name'])}</h2><p>{escape(tag['description'])}</p>{''.join(shown)}")
    page = f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Reelmill API</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>
<h1>Reelmill API {escape(document["info"]["version"])}</h1><pre>{escape(document["info"]["description"])}</pre>
<p>The whole contract is in <a href="openapi.json">/openapi.json</a> (OpenAPI {escape(document["openapi"])}).
Send your key as <code>Authorization: Bearer KEY</code>.</p>{"".join(sections)}</body></html>"""
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(page, headers={"Content-Security-Policy": policy})


def _operation(method: str, path: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    scope = operation.get("x-scope")
    parts = [
        f'<article id="{escape(operation["operationId"])}">',
        f"<h3><b>{method}</b> <code>{escape(path)}</code></h3>",
        f"<p>{escape(operation.get('description', operation.get('summary', '')))}",
        f" Scope: <code>{escape(scope)}</code>.</p>" if scope else "</p>",
    ]
    if parameters := operation.get("parameters"):
        rows = "".join(
            f"<tr><td><code>{escape(one['name'])}</code></td><td>{one['in']}</td>"
            f"<td>{escape(one.get('description', ''))}</td></tr>"
            for one in parameters
        )
        parts.append(f"<table><tr><th>Parameter</th><th>In</th><th></th></tr>{rows}</table>")
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if reference := body.get("$ref"):
        schema = document["components"]["schemas"][reference.rpartition("/")[2]]
        for example in schema.get("examples", ())[:1]:
            parts.append(f"<p>Body, for example:</p><pre>{escape(json.dumps(example, indent=2))}</pre>")
        parts.append(
            f"<details><summary>Schema of the body</summary><pre>{escape(json.dumps(schema, indent=2))}</pre></details>"
        )
    replies = "".join(
        f"<tr><td>{escape(status)}</td><td>{escape(reply.get('description', '')).replace(chr(10), '<br>')}</td></tr>"
        for status, reply in operation["responses"].items()
    )
    parts.append(f"<details><summary>Replies</summary><table>{replies}</table></details></article>")
    return "".join(parts)
