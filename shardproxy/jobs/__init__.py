"""Long work on a cluster: asked for at any proxy, done by the leader, seen by all, gone on with by the next.

    admin, CLI ─> JobDesk ─> note in the store ─> run_jobs at the leader ─> a worker of its kind
                                └─ state, progress, memo of steps <─ Work ┘

Knows no kind of work.
"""
