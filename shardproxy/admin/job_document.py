"""A job as /api shows it. Its memo is of use to its worker only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shardproxy.jobs.job import Job
from shardproxy.jobs.notes import job_encode


def jobs_document(jobs: Iterable[Job]) -> dict[str, Any]:
    return {"jobs": [job_document(job) for job in jobs]}


def job_document(job: Job) -> dict[str, Any]:
    """A job as JSON; times are seconds since 1970, 0 = not yet."""
    kept = job_encode(job)
    del kept["memo"]
    return {"id": job.id, "cluster": job.cluster, **kept, "is_over": job.state.is_over}
