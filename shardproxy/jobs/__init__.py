"""Long work on a cluster: asked for at any proxy, done by the leader, seen by all, gone on with by the next.

    admin, CLI ─> JobDesk ─> note in the store ─> run_jobs at the leader ─> a worker of its kind
                                └─ state, progress, memo of steps <─ Work ┘

    job.py         what a job is            states.py  who may make which state of which (pure)
    notes.py       jobs as notes            desk.py    what operators ask
    run.py         the leader's service     work.py    what a worker sees of its job
    statistics.py  counters for the metrics
    allowed.py     what of this machine they may touch
    wanted.py      what may be asked for (pure)

Knows no kind of work.
"""
