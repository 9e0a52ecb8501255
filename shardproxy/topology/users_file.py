"""Writes changes of users into a cluster's file of users."""

from __future__ import annotations

from pathlib import Path

from shardproxy.config.loading import read_text, text_of
from shardproxy.config.users import UsersError, parse_users_file, read_users_file
from shardproxy.config.users_write import users_file_edit
from shardproxy.dataplane.users import rules_wrong
from shardproxy.store.replace import file_rewrite
from shardproxy.topology.user_changes import ByName, Changes, edit_of, users_changed


def users_file_change(path: Path, configured: ByName, changes: Changes) -> None:
    """Write changes into a file of users, in place of what its symbolic links lead to.

    Raise OSError, or ConfigError or UsersError where it has mistakes, or would have them then: it is not made
    worse.
    """
    path = path.resolve()
    now = users_changed(configured, changes)
    there = {placed.user.name for placed in read_users_file(path)}
    edits = {
        name: edit_of(configured.get(name) if name in there else None, now[name]) if name in now else None
        for name in changes
    }
    data = users_file_edit(read_text(path), edits).encode()
    written = parse_users_file(text_of(data, str(path)), str(path))
    if wrong := list(rules_wrong(written)):
        raise UsersError(wrong)
    file_rewrite(path, data)
