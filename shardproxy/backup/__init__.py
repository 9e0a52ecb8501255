"""Backups of a whole cluster: all shards at one moment, verified while they are read, whole or not there.

Wants ─> sources (a replica each) ─> fence ─> one Snapshot a shard ─> unfence ─> put ─> manifest
                                                    schedule, retention ─> asks for these jobs
"""
