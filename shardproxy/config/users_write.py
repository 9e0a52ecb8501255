"""Changes users in the text of a users file; what is not changed stays as it was written, comments too."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

UserEdit: TypeAlias = Mapping[str, Any]  # by key; None takes a key away


def users_file_edit(text: str, edits: Mapping[str, UserEdit | None]) -> str:
    """Change, add or remove (None) users by name; the text must be a users file without mistakes."""
    yaml = YAML(typ="rt")
    yaml.width = 110
    yaml.preserve_quotes = True
    yaml.brace_single_entry_mapping_in_flow_sequence = True
    yaml.indent(mapping=2, sequence=2, offset=0)
    users = yaml.load(text)
    if users is None:
        users = CommentedSeq()
    for name, edit in edits.items():
        place = next((i for i, user in enumerate(users) if user["name"] == name), None)
        if edit is None:
            if place is not None:
                del users[place]
            continue
        if place is None:
            users.append(CommentedMap(name=name))
            place = len(users) - 1
        for key, value in edit.items():
            if value is None:
                users[place].pop(key, None)
            else:
                users[place][key] = value
    out = io.StringIO()
    yaml.dump(users, out)
    return out.getvalue()
