"""shardproxy: a self-hosted ElastiCache; one endpoint over many shards of unmodified Redis or memcached.

cli/        one file per subcommand                 config/     what users write, checked
app/        puts the services together              model/      frozen values everyone shares
admin/      HTTP API, metrics, probes               nodes/      a trio connection to one engine node
commands/   rare commands, answered in Python       wire/       sans-I/O codecs
topology/   the only writer of epochs               fleet/      starts real local engines
health/     asks every node how it is, and judges   failover/   replaces primaries, brings replicas back
insight/    where the time of requests goes         telemetry/  a sample of requests for a collector
store/      what outlives processes                 dataplane/  Rust workers: every ordinary request
manual/     what `shardproxy help` explains         doctor/     what is wrong with machine and nodes
"""

__version__ = "0.1.0"
