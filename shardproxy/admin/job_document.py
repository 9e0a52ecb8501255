"""A job as /api shows it. Its memo is of use to its worker only."""

from __future__ import annotations

from typing import Any

from shardproxy.jobs.job import Job


def job_document(job: Job) -> dict[str, Any]:
    """A job as JSON; times are seconds since 1970, 0 = not yet."""
    progress = job.progress
    return {
        "id": job.id,
        "cluster": job.cluster,
        "kind": job.kind,
        "wants": dict(job.wants),
        "state": job.state.value,
        "is_over": job.state.is_over,
        "by": job.by,
        "asked_at": job.asked_at,
        "began_at": job.began_at,
        "ended_at": job.ended_at,
        "progress": {
            "stage": progress.stage,
            "what": progress.what,
            "done": progress.done,
            "total": progress.total,
            "text": progress.text,
        },
        "why": job.why,
        "result": dict(job.result),
    }
