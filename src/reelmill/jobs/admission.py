"""What is let in: uploads and jobs, by an operator's switches, the tenant's quotas and the room on the disk.

It looks, then lets in: of requests that come at the same moment a few more may pass than a quota says. What has been
let in is never taken back.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from reelmill.errors import DiskFull, JobsQuotaReached, PipelineOff, StorageQuotaReached
from reelmill.jobs.model import TenantLimits
from reelmill.jobs.ports import Keeping, ObjectStore, Rules

SUMMED_S = 10.0  #: so long a tenant's sum is good: with a million files it takes a while to make
JUST_NOW_S = 1.0
RETRY_AFTER_S = 10  #: some jobs may have ended by then


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """For tenants for which nothing else is set; 0: no limit."""

    bytes: int = 0  #: sources and outputs in storage
    jobs: int = 0  #: in flight
    reserve_bytes: int = 0  #: of the disk, kept free whoever asks


class Admission:
    """Asked before an upload or a job is made. It remembers a tenant's limits for a second; the rest is read anew."""

    def __init__(self, *, keeping: Keeping | None, rules: Rules | None, objects: ObjectStore, quotas: Quotas) -> None:
        """keeping, rules: None of a store that has none; then only the disk is looked at."""
        self.keeping = keeping
        self.rules = rules
        self.objects = objects
        self.quotas = quotas
        self._sums: dict[str, tuple[float, int]] = {}  #: when a tenant's bytes were summed up, and what they are by now
        self._limits: dict[str, tuple[float, TenantLimits]] = {}  #: when they were read, and what they were

    def job(self, tenant: str, pipeline: str) -> None:
        """Raises PipelineOff, JobsQuotaReached."""
        self.pipeline(tenant, pipeline)
        most = self._known(tenant).quota_jobs
        if most and self.keeping is not None and (flying := self.keeping.in_flight(tenant)) >= most:
            raise JobsQuotaReached(f"{flying} jobs are in flight; {most} are allowed.", retry_after_s=RETRY_AFTER_S)

    def pipeline(self, tenant: str, pipeline: str) -> None:
        """Raises PipelineOff."""
        for switch in self.rules.switches(tenant) if self.rules is not None else ():
            if switch.pipeline == pipeline:
                raise PipelineOff(f"{pipeline} is switched off since {switch.since.isoformat()}: {switch.reason}")

    def upload(self, tenant: str, size_bytes: int, pipeline: str | None) -> None:
        """Raises StorageQuotaReached, DiskFull; with a pipeline, what `job` raises."""
        if pipeline is not None:
            self.job(tenant, pipeline)
        if self.keeping is not None and (most := self._known(tenant).quota_bytes):
            self._take_room(self.keeping, tenant, size_bytes, most)
        free = self.objects.free_bytes()
        if free is not None and free < size_bytes + self.quotas.reserve_bytes:
            raise DiskFull(
                f"{size_bytes} bytes and a reserve of {self.quotas.reserve_bytes} don't fit: {free} are free."
            )

    def _take_room(self, keeping: Keeping, tenant: str, size_bytes: int, most: int) -> None:
        """Raises StorageQuotaReached. What is let in is added to the last sum; a refusal is by a sum of just now."""
        for good_s in (SUMMED_S, JUST_NOW_S):
            at, taken = self._sums.get(tenant, (-math.inf, 0))
            if time.monotonic() - at > good_s:
                at, used = time.monotonic(), keeping.usage(tenant)
                taken = used.source_bytes + used.output_bytes
            fits = taken + size_bytes <= most
            self._sums[tenant] = at, taken + size_bytes if fits else taken
            if fits:
                return
        raise StorageQuotaReached(f"{taken} of {most} bytes are taken; {size_bytes} more don't fit.")

    def _known(self, tenant: str) -> TenantLimits:
        """Return the limits as they were within the last second: a burst of uploads doesn't read them each time."""
        at, known = self._limits.get(tenant, (-math.inf, TenantLimits(tenant)))
        if time.monotonic() - at > JUST_NOW_S:
            at, known = time.monotonic(), self.limits(tenant)
            self._limits[tenant] = at, known
        return known

    def limits(self, tenant: str) -> TenantLimits:
        """Return what holds for a tenant, the defaults filled in; 0: no limit."""
        own = self.rules.limits(tenant) if self.rules is not None else TenantLimits(tenant)
        return TenantLimits(
            tenant,
            quota_bytes=self.quotas.bytes if own.quota_bytes is None else own.quota_bytes,
            quota_jobs=self.quotas.jobs if own.quota_jobs is None else own.quota_jobs,
        )
