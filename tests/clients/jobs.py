"""What the workers of the task queues run, and the Celery application. Workers import it by name."""

from __future__ import annotations

import os

from celery import Celery


def add(a: int, b: int) -> int:
    return a + b


def total(numbers: list[int]) -> int:
    return sum(numbers)


def fail() -> None:
    raise RuntimeError("as it should")


url = os.environ.get("JOBS_REDIS_URL", "redis://127.0.0.1:1")
app = Celery("jobs", broker=url, backend=url)
app.conf.update(
    broker_connection_retry_on_startup=False,
    task_acks_late=True,
    task_routes={"jobs.total": {"queue": "sums"}},
)
celery_add = app.task(name="jobs.add")(add)
celery_total = app.task(name="jobs.total")(total)
