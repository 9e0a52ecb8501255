"""Jobs as notes: how they are named, written and read. Pure.

A cluster's jobs are numbered. Who asks for one writes the next number, and only where there is none of that
number yet: of two who ask at the same moment, at two proxies, one is told of the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shardproxy.jobs.job import Job, JobState, Progress
from shardproxy.store.notes import MAX_NOTES, Note, NoteKey, NoteKind, notes_of, value_encode

MAX_OVER = MAX_NOTES // 2  # bytes of all jobs of a cluster that are over
KEPT = 20  # jobs that are over, of a cluster; and the last of each kind that was done
DIGITS = 8  # of a name: they sort by number


def job_key(cluster: str, number: str) -> NoteKey:
    """Where a job is kept; raise ValueError when that is no number."""
    if not (number.isascii() and number.isdigit()):
        raise ValueError(f"{number!r} is no number of a job")
    return NoteKey(cluster, NoteKind.JOB, f"{int(number):0{DIGITS}d}")


def jobs_of(notes: Mapping[NoteKey, Note], cluster: str) -> tuple[Job, ...]:
    """The jobs of a cluster, the oldest first. What another version has written otherwise is left out."""
    found = notes_of(notes, cluster, NoteKind.JOB)
    return tuple(job for key, note in found.items() if (job := job_decode(key, note.value)) is not None)


def job_under_way(notes: Mapping[NoteKey, Note], cluster: str) -> Job | None:
    """The job that is not over."""
    return next((job for job in reversed(jobs_of(notes, cluster)) if not job.state.is_over), None)


def next_number(notes: Mapping[NoteKey, Note], cluster: str) -> str:
    """What the next job is called."""
    names = [key.name for key in notes_of(notes, cluster, NoteKind.JOB) if key.name.isdigit()]
    return str(int(names[-1]) + 1 if names else 1)


def jobs_to_drop(jobs: Iterable[Job]) -> tuple[Job, ...]:
    """Those that are too old to be kept, or take too much room."""
    over = [job for job in jobs if job.state.is_over]
    last_done = {job.kind: job.id for job in over if job.state is JobState.DONE}
    dropped = [job for job in over[:-KEPT] if last_done.get(job.kind) != job.id]
    kept = [job for job in over if job not in dropped]
    room = MAX_OVER - sum(map(_size, kept))
    for job in kept:  # what is under way needs the rest
        if room >= 0:
            break
        room += _size(job)
        dropped.append(job)
    return tuple(dropped)


def _size(job: Job) -> int:
    return len(value_encode(job_encode(job)))


def job_encode(job: Job) -> dict[str, Any]:
    """As it is kept, and shown but for its memo; its key has the rest."""
    progress = job.progress
    return {
        "kind": job.kind,
        "wants": dict(job.wants),
        "state": job.state.value,
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
        "memo": dict(job.memo),
        "result": dict(job.result),
    }


def job_decode(key: NoteKey, value: Any) -> Job | None:
    """None for what is no job, as of another version."""
    try:
        progress = value["progress"]
        return Job(
            id=str(int(key.name)),
            cluster=key.cluster,
            kind=str(value["kind"]),
            wants=dict(value["wants"]),
            state=JobState(value["state"]),
            by=str(value["by"]),
            asked_at=float(value["asked_at"]),
            began_at=float(value["began_at"]),
            ended_at=float(value["ended_at"]),
            progress=Progress(
                str(progress["stage"]),
                str(progress["what"]),
                int(progress["done"]),
                int(progress["total"]),
                str(progress["text"]),
            ),
            why=str(value["why"]),
            memo=dict(value["memo"]),
            result=dict(value["result"]),
        )
    except (KeyError, TypeError, ValueError):
        return None
