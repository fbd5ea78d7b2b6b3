"""Items: what each field is in the table, and in which indexes an item stands.

An item here is a dict of Python values under the nouns' own field names; `pk` and `sk` are its key. In the table the
hash key may have another name, and what is nested is JSON text, so that numbers and words come back as they went.
Labels alone are a map, because listings filter by them.

    pk             sk                               item
    {video_id}     video                            a video; its `processing_*` are read from its driver
    {video_id}     job#{created_at}#{job_id}        one of its jobs
    {job_id}       job                              a job, with the events of its last write in `outbox`
    {job_id}       step#{stage}#{index}             a step, with its present attempt in `history`
    {job_id}       attempt#{stage}#{index}#{n}      an attempt before the present one
    {job_id}       artifact#{name}                  a file; counts when its step is done in the same attempt
    {job_id}       event#{seq}                      an event that has left the outbox
    {job_id}       share#{id}                       a share of its results
    key#{key}      key                              which video a key belongs to
    made#{digest}  {tenant}                         a step of this digest that was done and may be reused
    tenants        {tenant}                         who has steps, in which queues, and what it has used lately
    brands#{tenant}  {kind}#{name}                  what a tenant keeps by name
    workers        {worker_id}                      a process that claims steps
    leases         {name}                           a named lease
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from reelmill.jobs.lifecycle import CLAIMABLE, ENDED, PROCESSING_OF, Processing, Status, StepStatus, UploadStatus
from reelmill.jobs.model import ApiKey, Artifact, Attempt, AuditEntry, Brand, Job, JobEvent, Share, Step, Video, Worker
from reelmill.jobs.ports import NewJob, NewVideo, Opening
from reelmill.stores import rows

DOCUMENTS = {
    "params", "source", "output", "meta", "data", "stages", "warnings", "live", "folded", "outbox", "end", "history",
    "intent", "scopes", "successor", "note", "queues", "moving", "redo", "embed", "then",
}  # fmt: skip
STAMPS = {
    "created_at", "uploaded_at", "upload_expires_at", "queued_at", "started_at", "completed_at", "finished_at",
    "not_before", "rung_at", "swept_at", "stamped_at", "driver_at", "ended_at", "revoked_at", "until",
    "stored_at", "updated_at", "seen_at", "draining_at", "expires_at", "followed_at",
}  # fmt: skip
FLOATS = {"progress_pct", "progress", "lease_s", "seconds", "usage"}
RENAMED = {"video_id": "of_video", "job_id": "of_job"}  #: in the table, whose hash key may have these names
INDEXED = ("list_of", "list_at", "turn_of", "turn_at", "watch_of", "watch_at")

OWN = {
    "sk", "version", "token", "stamped_at", "live", "folded", "outbox", "epoch", "opened", "plan", "due", "led",
    "intent", "driver_at", "swept_at", "output_s3_keys", "stage_no", "gen", "not_before", "rung_at", "lease_s", "beat",
    "owed",
    "end", "ended_by", "history", "holder", "seconds", "until", "sha256", "body_sha256", "status_code", "body",
    "content_type", "note", "successor", "by", "path", "usage", "waits", "later", "sorting", "moving", "redo", "redos",
    "release",
}  # fmt: skip
NOUNS = (Video, Job, Step, Artifact, ApiKey, AuditEntry, Worker, Share, Brand)
NAMES = (
    OWN | {RENAMED.get(f.name, f.name) for noun in NOUNS for f in fields(noun)} | set(INDEXED)
)  #: of all attributes that an item may have beside its key

PLANNED = "planned"  #: of a step whose stage isn't open yet: nobody sees it


class Item(dict[str, Any]):
    """An item of the table; a field that it hasn't is None."""

    def __missing__(self, name: str) -> None:
        return None


# ── In the table ──────────────────────────────────────────────────────────────────────────────


def stamp(moment: datetime) -> str:
    """Return a moment as text that sorts."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def attribute(name: str, value: Any) -> dict[str, Any]:
    """Return a field's value in DynamoDB's own form."""
    if name in DOCUMENTS:
        return {"S": json.dumps(value, ensure_ascii=False, default=_plain)}
    return _attribute(value)


def _attribute(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"BOOL": value}
        case int() | float():
            return {"N": repr(value)}
        case datetime():
            return {"S": stamp(value)}
        case str():
            return {"S": str(value)}
        case Mapping():
            return {"M": {str(name): _attribute(each) for name, each in value.items()}}
        case None:
            return {"NULL": True}
        case _:
            return {"L": [_attribute(each) for each in value]}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, datetime):
        return stamp(value)
    raise TypeError(f"{type(value).__name__} can't be stored")


def to_table(item: Mapping[str, Any], hash_key: str) -> dict[str, Any]:
    return {
        hash_key if name == "pk" else RENAMED.get(name, name): attribute(name, value)
        for name, value in item.items()
        if value is not None
    }


def from_table(stored: Mapping[str, Any], hash_key: str) -> Item:
    names = {hash_key: "pk", **{there: here for here, there in RENAMED.items()}}
    item = Item()
    for there, attribute_ in stored.items():
        name = names.get(there, there)
        value = _value(attribute_)
        if name in DOCUMENTS:
            value = json.loads(value)
        elif name in STAMPS:
            value = datetime.fromisoformat(value)
        elif name in FLOATS:
            value = float(value)
        item[name] = value
    return item


def _value(attribute_: Mapping[str, Any]) -> Any:
    ((kind, value),) = attribute_.items()
    match kind:
        case "N":
            return int(value) if value.lstrip("-").isdigit() else float(value)
        case "M":
            return {name: _value(each) for name, each in value.items()}
        case "L":
            return [_value(each) for each in value]
        case "NULL":
            return None
        case _:
            return value


# ── New items ─────────────────────────────────────────────────────────────────────────────────


def new_video(video: NewVideo, at: datetime, expires_at: datetime, job: NewJob | None) -> Item:
    """A video that awaits its upload. Its job is made from the intent, by whoever comes first."""
    return Item(
        pk=video.id,
        sk="video",
        id=video.id,
        tenant=video.tenant,
        user_id=video.user_id,
        filename=video.filename,
        content_type=video.content_type,
        size_bytes=video.size_bytes,
        sha256=video.sha256,
        key=video.key,
        labels=dict(video.labels),
        upload_status=UploadStatus.AWAITING,
        processing_job_id=job.id if job else None,
        driver_at=at if job else None,
        created_at=at,
        upload_expires_at=expires_at,
        part_size=video.part_size,
        multipart_id=video.multipart_id,
        intent={"do": "make", "job_id": job.id, "job": new_job_document(job)} if job else None,
    )


def new_job_document(job: NewJob) -> dict[str, Any]:
    """A job to be, as it is kept in its video until its own item is there."""
    told = {name: getattr(job, name) for name in NewJob.__slots__}
    return told | {"stages": [[stage.name, stage.weight] for stage in job.stages]}


def new_job(told: Mapping[str, Any], at: datetime, opening: Opening | None) -> Item:
    """A job in `awaiting_upload`, or queued with its first stage. told: as of `new_job_document`."""
    made = [event("job.created", at, {"pipeline": told["pipeline"]})]
    item = Item(
        told,
        pk=told["id"],
        sk="job",
        status=Status.QUEUED if opening else Status.AWAITING_UPLOAD,
        run=1,
        steps_planned=0,
        steps_done=0,
        progress_pct=0.0,
        message="Queued" if opening else "Waiting for the upload",
        warnings=[],
        spooled=0,
        created_at=at,
        stamped_at=at,
        epoch=0,
        sorting=0,
        redos=0,
        live={},
        folded={},
    )
    if opening is not None:
        item["epoch"] = 1
        open_stage(item, opening.stage, len(opening.specs), plan_of(opening))
        item["queued_at"] = at
        made.append(event("job.queued", at, {"stage": opening.stage, "steps": len(opening.specs)}))
    item["outbox"] = made
    item["last_seq"] = len(made)
    return item


def open_stage(job: Item, stage: str, steps: int, plan: str) -> None:
    """Let a job stand at the beginning of a stage. The steps of this plan become ready when the job is settled."""
    job.update(
        stage=stage, steps_planned=steps, steps_done=0, opened=job["epoch"], plan=plan, folded={}, live={}
    )  # fmt: skip


def is_opened(job: Item, step: Item) -> bool:
    """Whether a planned step is of the opening by which the job stands in its stage."""
    return bool((step["stage"], step["gen"], step["plan"]) == (job["stage"], job["opened"], job["plan"]))


def came_to_nothing(job: Item, step: Item) -> bool:
    """Whether the opening for which a step was planned can't come any more, whatever has happened to the job since.

    While the job has yet to reach the stage, somebody may be about to open it: then the step is left to him.
    """
    if (step["gen"], step["redos"]) > (job["epoch"], job["redos"]):
        return False
    order = [name for name, _ in job["stages"]]
    reached = job["stage"] is not None and order.index(job["stage"]) >= step["stage_no"]
    return reached or job["status"] in ENDED


def plan_of(opening: Opening) -> str:
    """Return what tells the steps of this opening from those of any other."""
    return hashlib.sha256(repr(opening).encode()).hexdigest()


def new_steps(job: Item, opening: Opening, epoch: int, at: datetime) -> list[Item]:
    """The steps of a stage, planned for this epoch of the job: not to be seen before the stage is open."""
    stage_no, plan = [name for name, _ in job["stages"]].index(opening.stage), plan_of(opening)
    return [
        Item(
            pk=job["id"],
            sk=step_key(opening.stage, spec.index),
            id=f"{job['id']}:{opening.stage}:{spec.index}",
            job_id=job["id"],
            stage=opening.stage,
            stage_no=stage_no,
            index=spec.index,
            kind=spec.kind,
            params=dict(spec.params),
            digest=spec.digest,
            optional=spec.optional,
            queue=spec.queue,
            later=not spec.first,
            tenant=job["tenant"],
            status=PLANNED,
            gen=epoch,
            redos=job["redos"],
            plan=plan,
            run=0,
            attempt=0,
            tries=0,
            crashes=0,
            progress=0.0,
            created_at=at,
            not_before=at,
            stamped_at=at,
        )
        for spec in opening.specs
    ]


def event(kind: str, at: datetime, data: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": kind, "data": dict(data), "at": stamp(at)}


# ── Keys and indexes ──────────────────────────────────────────────────────────────────────────


def step_key(stage: str, index: int) -> str:
    return f"step#{stage}#{index:06}"


def key_of(step_id: str) -> tuple[str, str]:
    """Return the key of a step's item from the step's id."""
    job_id, stage, index = step_id.split(":")
    return job_id, step_key(stage, int(index))


def attempt_key(step: Item, attempt: int) -> str:
    return f"attempt#{step['stage']}#{step['index']:06}#{attempt:04}"


def event_key(seq: int) -> str:
    return f"event#{seq:010}"


def turn(priority: int, *more: str) -> str:
    """Return a place in a queue, as text that sorts: higher priorities first, then what follows."""
    return "#".join((rank(priority), *more))


def rank(priority: int) -> str:
    """Return the part of a place that its priority decides; all are equally long."""
    return f"{10**9 - priority:010}"


def lane(tenant: str, queue: str) -> str:
    """Return where the steps of a tenant that could be claimed stand in `by_turn`."""
    return f"ready#{tenant}#{queue}"


def queued(tenant: str) -> str:
    """Return where the queued jobs of a tenant stand in `by_watch`."""
    return f"queued#{tenant}"


def place_video(video: Item) -> None:
    """Set the indexes that a video stands in: its tenant's list, overdue or left uploads, and unfinished changes."""
    _clear(video)
    video.update(list_of=f"video#{video['tenant']}", list_at=listed_at(video))
    if video["upload_status"] == UploadStatus.AWAITING:
        video.update(watch_of="awaiting", watch_at=f"{stamp(video['upload_expires_at'])}#{video['id']}")
    elif video["multipart_id"] is not None:
        video.update(watch_of="left parts", watch_at=video["id"])
    if video["intent"] is not None:
        video.update(turn_of="due", turn_at=video["id"])


def place_job(job: Item) -> None:
    """Set the indexes that a job stands in: its tenant's list, its status, and what must be done about it."""
    _clear(job)
    status = Status(job["status"])
    job.update(list_of=f"job#{job['tenant']}", list_at=listed_at(job))
    if status is Status.QUEUED:
        job.update(watch_of=queued(job["tenant"]), watch_at=turn(job["priority"], stamp(job["queued_at"]), job["id"]))
    elif status is Status.RUNNING:
        job.update(watch_of="running", watch_at=job["id"])
    elif status in ENDED and job["swept_at"] is None:
        job.update(watch_of="unswept", watch_at=job["id"])
    else:
        job.update(watch_of="ended" if status in ENDED else "waiting", watch_at=job["id"])
    if job["due"] is not None:
        job.update(turn_of="due", turn_at=job["id"])
    elif status in CLAIMABLE and job["steps_done"] >= job["steps_planned"]:
        job.update(turn_of="stalled", turn_at=f"{stamp(job['queued_at'])}#{job['id']}")
    elif status is Status.COMPLETED and job["then"] and job["followed_at"] is None:
        job.update(turn_of="unfollowed", turn_at=job["id"])


def place_step(step: Item, job: Item) -> None:
    """Set the indexes that a step stands in: its tenant's queue, and those that are held or whose end isn't told.

    job: one from before its priority was changed doesn't undo what the step got by the change (`sorting`).
    """
    _clear(step)
    if step["priority"] is None or job["sorting"] > step["sorting"]:
        step.update(priority=job["priority"], sorting=job["sorting"])
    if step["status"] == StepStatus.READY and step["waits"]:
        step.update(turn_of="waits", turn_at=f"{stamp(step['not_before'])}#{step['id']}")
    elif step["status"] == StepStatus.READY:
        place = str(int(step["later"])), stamp(job["queued_at"]), job["id"], f"{step['index']:06}"
        step.update(turn_of=lane(step["tenant"], step["queue"]), turn_at=turn(step["priority"], *place))
    if step["status"] == StepStatus.RUNNING or step["owed"]:
        step.update(watch_of="held", watch_at=step["id"])


def place_artifact(artifact: Item) -> None:
    """Set the index that a file stands in while it waits in a spool."""
    _clear(artifact)
    if artifact["place"] == "spool":
        place = f"{artifact['spool']}#{stamp(artifact['created_at'])}#{artifact['id']}"
        artifact.update(watch_of="spool", watch_at=place)


def listed_at(item: Item) -> str:
    return f"{stamp(item['created_at'])}#{item['id']}"


def _clear(item: Item) -> None:
    for name in INDEXED:
        item.pop(name, None)


# ── To nouns ──────────────────────────────────────────────────────────────────────────────────


def to_video(video: Item, driver: Item | None) -> Video:
    """Return a video as its driver lets it be."""
    seen = Item(video, processing_status=Processing.PENDING)
    if driver is not None:
        status = Status(driver["status"])
        seen.update(
            processing_status=PROCESSING_OF[status],
            processing_error="cancelled" if status is Status.CANCELLED else driver["error_code"],
            processing_completed_at=driver["completed_at"] if status in ENDED else None,
        )
    return rows.to_video(seen)


def to_job(job: Item) -> Job:
    return rows.to_job(job)


def to_step(step: Item) -> Step:
    shown = StepStatus.READY if step["status"] == PLANNED else step["status"]
    return rows.to_step(Item(step, status=shown))


def to_attempt(record: Mapping[str, Any]) -> Attempt:
    stamps = {
        name: datetime.fromisoformat(value)
        for name in ("started_at", "ended_at")
        if isinstance(value := record.get(name), str)
    }
    return rows.to_attempt(Item({**record, **stamps}))


def to_artifact(item: Item) -> Artifact:
    return rows.to_artifact(item)


def to_event(job_id: str, seq: int, told: Mapping[str, Any]) -> JobEvent:
    return JobEvent(
        job_id=job_id, seq=seq, type=told["type"], data=told["data"], created_at=datetime.fromisoformat(told["at"])
    )
