"""The paths by which older clients know us: one table, answered by the same service calls as the canonical paths.

Each view is a generation of clients with its own fields and words (`view_ab.py`, `view_c.py`, `view_d.py`; E has
the canonical ones). To add an alias: a handler in its view, and a row here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from fastapi import APIRouter, Response
from fastapi.routing import APIRoute

from reelmill.api import delivery, jobs
from reelmill.api.access import Guarded
from reelmill.api.aliases import view_ab as ab
from reelmill.api.aliases import view_c as c
from reelmill.api.aliases import view_d as d
from reelmill.api.aliases.calls import View
from reelmill.schemas import JobStatusName

TAG = {"name": "older clients", "description": "The paths of earlier systems. New clients use the others."}

E = View(name="E", pipeline="generate", words=get_args(JobStatusName))


@dataclass(frozen=True, slots=True)
class Alias:
    """One path of an older client. The handler's signature says what is sent and what is answered."""

    view: View
    method: Literal["GET", "POST"]
    path: str
    canonical: str  #: the path for new clients
    handler: Callable[..., Any]

    @property
    def operation_id(self) -> str:
        return f"{self.view.name.replace('/', '').lower()}_{self.handler.__name__}"


ALIASES = (
    Alias(ab.AB, "POST", "/api/upload/initiate", "/api/v1/uploads/initiate", ab.initiate),
    Alias(ab.AB, "POST", "/api/upload/complete", "/api/v1/uploads/complete", ab.complete),
    Alias(ab.AB, "POST", "/api/video/analyze-duration", "/api/v1/videos/analyze-duration", ab.analyze_duration),
    Alias(ab.AB, "GET", "/api/jobs/{job_id}/status", "/api/v1/jobs/{job_id}/status", ab.status),
    Alias(c.C, "POST", "/api/malls/{mall_id}/pins/{pin_id}/uploads/initiate", "/api/v1/uploads/initiate", c.initiate),
    Alias(c.C, "POST", "/api/malls/{mall_id}/pins/{pin_id}/uploads/complete", "/api/v1/uploads/complete", c.complete),
    Alias(c.C, "GET", "/api/videos", "/api/v1/videos", c.list_videos),
    Alias(c.C, "GET", "/api/videos/{video_id}", "/api/v1/videos/{video_id}", c.get_video),
    Alias(d.D, "POST", "/videos/upload/initiate", "/api/v1/uploads/initiate", d.initiate),
    Alias(d.D, "POST", "/videos/upload/complete", "/api/v1/uploads/complete", d.complete),
    Alias(d.D, "GET", "/videos/jobs/{job_id}/status", "/api/v1/jobs/{job_id}/status", d.status),
    Alias(E, "GET", "/api/v1/videos/jobs/{job_id}/status", "/api/v1/jobs/{job_id}/status", jobs.get_job_status),
    Alias(E, "GET", "/api/v1/videos/jobs/{job_id}/download", "/api/v1/jobs/{job_id}/download", delivery.download),
    Alias(E, "GET", "/api/v1/videos/jobs/{job_id}/stream", "/api/v1/jobs/{job_id}/stream", delivery.stream),
    Alias(E, "GET", "/api/v1/videos/jobs/{job_id}/metadata", "/api/v1/jobs/{job_id}/metadata", delivery.metadata),
    Alias(E, "GET", "/api/v1/videos/jobs/{job_id}/thumbnail", "/api/v1/jobs/{job_id}/thumbnail", delivery.thumbnail),
)


def _routes() -> APIRouter:
    router = APIRouter(tags=[TAG["name"]], route_class=Guarded)
    known = [route for route in (*jobs.router.routes, *delivery.router.routes) if isinstance(route, APIRoute)]
    canonical = {inspect.unwrap(route.endpoint): route for route in known if "GET" in (route.methods or ())}
    for alias in ALIASES:
        same = canonical.get(alias.handler)
        told: dict[str, Any] = (
            {"response_class": same.response_class, "response_model": same.response_model, "responses": same.responses}
            if same
            else {}
        )
        router.add_api_route(
            alias.path, alias.handler, methods=[alias.method], name=alias.operation_id, deprecated=True, **told
        )
        if alias.handler in delivery.HEADED:
            router.add_api_route(
                alias.path, alias.handler, methods=["HEAD"], name=f"head_{alias.operation_id}",
                include_in_schema=False, response_class=Response, response_model=None,
            )  # fmt: skip
    return router


router = _routes()
