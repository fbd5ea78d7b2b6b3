"""`/metrics` for Prometheus: figures of the whole platform, so only for who runs it."""

from __future__ import annotations

import hmac

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from reelmill.api.access import OWNER, admit, platform
from reelmill.errors import ScopeMissing

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Tell all metrics to who has the token of REELMILL_METRICS_TOKEN, or a key of the operator's own tenant."""
    app = platform(request)
    token = app.settings.metrics_token
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    known = token.get_secret_value().encode() if token else b""
    if not (known and scheme.lower() == "bearer" and hmac.compare_digest(known, given.strip().encode())):
        identity = await admit(request)
        identity.must("admin")
        if identity.tenant != OWNER.tenant:
            raise ScopeMissing(f"The metrics are of all tenants: they need a key of the tenant {OWNER.tenant!r}.")
    body, content_type = await run_in_threadpool(app.observer.metrics.text, request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": content_type})
