"""Long work: resharding, backups, restores, imports; and scaling."""

from __future__ import annotations

from dashboards.build.page import INSTANCE, REDIS, Page, Row
from dashboards.build.panels import ORANGE, RED, if_any, now, percentiles, rate, series, stat

NOW = Row(
    "Now",
    (
        (
            stat(
                "Under way",
                "Jobs that are not over.",
                "short",
                "sum(max by (cluster, kind, state) (shardproxy_job_state{@c}))",
            ),
            stat(
                "Failed",
                "Kinds of work whose last one failed.",
                "short",
                "sum(max by (cluster, kind) (shardproxy_job_last_failed{@c})) or vector(0)",
                steps=((1, RED),),
            ),
            stat(
                "Age of the last backup",
                "Of the cluster whose is oldest.",
                "s",
                'time() - min(max by (cluster) (shardproxy_job_last_done_timestamp_seconds{@c, kind="backup"}))',
                steps=((26 * 3600, ORANGE), (36 * 3600, RED)),
            ),
        ),
    ),
)

WORK = Row(
    "Jobs",
    (
        (
            series(
                "Under way",
                "By kind and state: `shardproxy jobs` says more.",
                "short",
                if_any(now("max", "shardproxy_job_state", "cluster", "kind", "state")),
            ),
            series(
                "Progress",
                "Of the work under way.",
                "percentunit",
                now("max", "shardproxy_job_progress_ratio", "cluster", "kind"),
            ),
            series(
                "Ended",
                "Within an hour, and kinds whose last one failed.",
                "short",
                (
                    "sum by (cluster, kind, state) (increase(shardproxy_jobs_total{@c}[1h])) > 0",
                    "{{cluster}} {{kind}} {{state}}",
                ),
                now(
                    "max",
                    "shardproxy_job_last_failed",
                    "cluster",
                    "kind",
                    legend="{{cluster}} {{kind}}: the last one failed",
                ),
            ),
            series(
                "Since the last one",
                "That was done.",
                "s",
                (
                    "time() - max by (cluster, kind) (shardproxy_job_last_done_timestamp_seconds{@c})",
                    "{{cluster}} {{kind}}",
                ),
            ),
        ),
    ),
)

MOVES = Row(
    "Moving slots",
    (
        (
            series(
                "Slots moved",
                "That got another owner, per second.",
                "ops",
                rate("shardproxy_slots_moved_total", "cluster"),
            ),
            series(
                "Keys moved",
                "With them.",
                "ops",
                rate("shardproxy_keys_moved_total", "cluster"),
            ),
            series(
                "Pauses of moves",
                "How long requests for slots waited while these changed owner.",
                "s",
                *percentiles("shardproxy_move_pause_seconds", "@c", "cluster", parts=(0.5, 0.99), over="15m"),
            ),
        ),
    ),
)

SCALING = Row(
    "Scaling",
    (
        (
            series(
                "Shards",
                "Owning slots, wanted, and ready to own some; of clusters with `scaling`.",
                "short",
                now("max", "shardproxy_scaling_shards", "cluster", "what"),
            ),
            series(
                "Load",
                "What scaling measures, the average of all shards.",
                "percentunit",
                now("max", "shardproxy_scaling_load_ratio", "cluster", "measure"),
            ),
        ),
    ),
)

JOBS = Page(
    "jobs",
    "shardproxy: jobs",
    "Long work: resharding, backups, restores, imports; and how many shards there should be.",
    (INSTANCE, REDIS),
    (NOW, WORK, MOVES, SCALING),
)
