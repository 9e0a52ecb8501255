"""Has long work done, and waits for it: the plan first, then how far it is. Knows no kind of work.

    plan ─> printed ─> start ─> followed until it is over, or left alone (--detach, Ctrl-C)

Exit codes: 0 done, or asked for and left alone; 1 refused or failed; 3 given up by an operator; 130 Ctrl-C.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote

from cyclopts import Parameter
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from shardproxy.cli.ask import AskError, Proxy, ask, console

DONE, FAILED, ABORTED, INTERRUPTED = 0, 1, 3, 130
POLL = 0.5  # seconds between looks
LOST = 60.0  # seconds for which a proxy that does not answer is asked again: it may be restarting
LINE_EVERY = 10.0  # seconds, of one stage; where there is no terminal

Detach = Annotated[
    bool, Parameter(negative="", help="Return once it is asked for; shardproxy jobs shows how far it is.")
]
PlanOnly = Annotated[bool, Parameter(negative="", help="Only show what would be done.")]
Wish = Literal["pause", "resume", "abort", "finish"]


def submit(
    proxy: Proxy,
    cluster: str,
    kind: str,
    wants: Mapping[str, Any],
    *,
    detach: bool = False,
    plan: bool = False,
    output: str = "table",
) -> int:
    """Show the plan, have it done, and wait until it is over; return the exit code."""
    body = {"cluster": cluster, "kind": kind, "wants": dict(wants)}
    try:
        planned = ask(proxy, "/api/jobs/plan", body)["plan"]
        if plan:
            _print_json({"plan": planned}) if output == "json" else _print_plan(planned)
            return DONE
        if output != "json":
            _print_plan(planned)
        if planned.get("why_not"):
            raise AskError(f"nothing was done: {planned['why_not']}")
        job = ask(proxy, "/api/jobs/start", body)["job"]
    except AskError as error:
        return _fail(error)
    if detach:
        _print_json({"plan": planned, "job": job}) if output == "json" else print(left_alone(job))
        return DONE
    return watch(proxy, job, output=output)


def watch(proxy: Proxy, job: Mapping[str, Any], *, output: str = "table") -> int:
    """Show how far a job is until it is over; return the exit code. Ctrl-C leaves it alone."""
    out = console()
    follow = _follow_silently if output == "json" else _follow_bar if out.is_terminal else _follow_lines
    try:
        job = follow(job, lambda: job_find(proxy, str(job["cluster"]), str(job["id"])))
    except KeyboardInterrupt:
        print(f"\n{left_alone(job)}", file=sys.stderr)
        return INTERRUPTED
    except AskError as error:
        print(f"shardproxy: {error}\n{left_alone(job)}", file=sys.stderr)
        return FAILED
    if output == "json":
        _print_json({"job": job})
    else:
        print(job_end(job), file=sys.stderr if job["state"] == "failed" else sys.stdout)
    return {"done": DONE, "aborted": ABORTED}.get(str(job["state"]), FAILED)


def wish(proxy: Proxy, cluster: str, what: Wish, *, number: str | None = None, output: str = "table") -> int:
    """Pause, resume or give up a job, or the one that is under way; return the exit code."""
    try:
        job = ask(proxy, f"/api/jobs/{what}", {"cluster": cluster, "id": number})["job"]
    except AskError as error:
        return _fail(error)
    _print_json({"job": job}) if output == "json" else print(job_line(job))
    return DONE


def job_find(proxy: Proxy, cluster: str, number: str | None = None) -> Mapping[str, Any] | None:
    """A job by its number, or the newest; raise AskError."""
    jobs = ask(proxy, f"/api/jobs?cluster={quote(cluster)}")["jobs"]
    found = [job for job in jobs if number is None or job["id"] == number]
    return found[-1] if found else None


def job_of(proxy: Proxy, cluster: str, kind: str) -> Mapping[str, Any]:
    """The newest job, if it is of that kind: what is said to one is not meant for another; raise AskError."""
    job = job_find(proxy, cluster)
    if job is None or job["kind"] != kind:
        last = "nothing" if job is None else f"{job['kind']} {job['id']}"
        raise AskError(f"{cluster} has no {kind}: {last} was the last; shardproxy jobs {cluster} shows more")
    return job


# --- how it is shown ---


def job_line(job: Mapping[str, Any]) -> str:
    """A job in one line: what, how far, and why not further."""
    progress = progress_text(job)
    said = f"{job['kind']} {job['id']} of {job['cluster']}: {job['state']}"
    if not job["is_over"]:
        return said + (f", {progress}" if progress else "")
    text = job["why"] or job["result"].get("text", "")
    return said + (f": {text}" if text else "")


def job_end(job: Mapping[str, Any]) -> str:
    """What became of it, and how long it took."""
    seconds = max(0.0, job["ended_at"] - job["began_at"]) if job["began_at"] else 0.0
    return f"{job_line(job)} ({seconds:.1f} s)"


def progress_text(job: Mapping[str, Any]) -> str:
    """How far it is: `copying, 40 % (400 of 1000 keys)`."""
    of = job["progress"]
    what = f" {of['what']}" if of["what"] else ""
    if of["total"]:
        counted = f"{100 * of['done'] // of['total']} % ({of['done']} of {of['total']}{what})"
    else:
        counted = f"{of['done']}{what}" if of["done"] else ""
    return ", ".join(filter(None, (of["stage"], counted, of["text"])))


def left_alone(job: Mapping[str, Any]) -> str:
    """Where to look for what goes on without us."""
    name, cluster = f"{job['kind']} {job['id']} of {job['cluster']}", job["cluster"]
    return (
        f"{name} goes on by itself: shardproxy jobs {cluster} shows it, --wait waits for it, --abort ends it"
    )


def _print_plan(planned: Mapping[str, Any]) -> None:
    for line in planned.get("lines", ()):
        print(line)


def _print_json(value: Mapping[str, Any]) -> None:
    print(json.dumps(value, indent=2))


def _fail(error: AskError) -> int:
    print(f"shardproxy: {error}", file=sys.stderr)
    return FAILED


# --- following ---

Look = Callable[[], Mapping[str, Any] | None]


def _looks(job: Mapping[str, Any], look: Look) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """The job now and then until it is over, and whether nobody answers; raise AskError when that lasts."""
    silent_since: float | None = None
    while not job["is_over"]:
        time.sleep(POLL)
        try:
            now = look()
        except AskError:
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since > LOST:
                raise
        else:
            silent_since = None
            if now is None:
                raise AskError("the proxy knows nothing of it any more: has its store been emptied?")
            job = now
        yield job, silent_since is not None


def _follow_silently(job: Mapping[str, Any], look: Look) -> Mapping[str, Any]:
    for job, _ in _looks(job, look):  # noqa: B007,B020  # the last one is what it has become
        continue
    return job


def _follow_lines(job: Mapping[str, Any], look: Look) -> Mapping[str, Any]:
    stage, said_at, said = "", 0.0, ""
    for job, is_silent in _looks(job, look):  # noqa: B020
        line, now = f"{job['state']}: {progress_text(job)}", time.monotonic()
        line = "no proxy answers" if is_silent else line
        at = f"{job['state']} {job['progress']['stage']} {is_silent}"
        if line != said and (at != stage or now - said_at >= LINE_EVERY) and not job["is_over"]:
            print(f"{datetime.now(UTC):%H:%M:%S} {line}", flush=True)
            stage, said_at, said = at, now, line
    return job


def _follow_bar(job: Mapping[str, Any], look: Look) -> Mapping[str, Any]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=console(), transient=True) as bar:
        task = bar.add_task(str(job["kind"]), total=None, text="")
        for job, is_silent in _looks(job, look):  # noqa: B020
            of = job["progress"]
            stage = job["state"] if job["state"] != "running" else of["stage"] or "running"
            bar.update(
                task,
                description=f"{job['kind']} {job['id']}: {stage}",
                completed=of["done"],
                total=of["total"] or None,
                text="no proxy answers" if is_silent else of["text"],
                refresh=True,
            )
    return job
