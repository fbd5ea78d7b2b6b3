"""The processes that do steps, and how one is emptied before its machine is switched off.

All tenants share the workers, so they are the operator's business: another tenant's admin sees none and drains none.
"""

from __future__ import annotations

import re

from fastapi import APIRouter

from reelmill.api.access import Guarded, Platform, Who, needs
from reelmill.errors import NotFound
from reelmill.jobs.model import OPERATOR, Caller, Worker
from reelmill.schemas import WorkerList, WorkerReply
from reelmill.wiring import App

router = APIRouter(prefix="/api/v1/admin/workers", tags=["admin"], route_class=Guarded)

ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


@router.get("")
@needs("admin")
def list_workers(app: Platform, who: Who) -> WorkerList:
    """List the processes that do steps, oldest first; also those that were killed, for a day."""
    return WorkerList(items=[_shown(app, one) for one in app.store.workers()] if _operates(who) else [])


@router.post("/{worker_id}/drain")
@needs("admin", NotFound)
def drain_worker(app: Platform, who: Who, worker_id: str) -> WorkerReply:
    """Tell a worker to claim nothing more. It hears it with its next heartbeat, and ends when its steps have ended."""
    if not _operates(who) or not ID.fullmatch(worker_id):
        raise NotFound(f"There is no worker {worker_id}.")
    drained = app.store.drain_worker(worker_id)
    app.access.audit(who, action="worker.drain", target=worker_id)
    return _shown(app, drained)


def _operates(who: Caller) -> bool:
    return who.tenant == OPERATOR.tenant


def _shown(app: App, worker: Worker) -> WorkerReply:
    lost = worker.silent_s > max(app.settings.lease_s, 3 * app.settings.heartbeat_s)
    same = "id host pid slots engine version started_at seen_at silent_s draining_at"
    return WorkerReply(
        **{name: getattr(worker, name) for name in same.split()},
        queues=list(worker.queues),
        state="lost" if lost else "draining" if worker.draining_at else "working",
    )
