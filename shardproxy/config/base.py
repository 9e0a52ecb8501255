"""What every section of the config file has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

REFUSED = "refused"  # the type of an error whose text is already in the user's words


class Section(BaseModel):
    """A mapping in the file: no unknown keys, values never change, errors never show what was typed."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )


def refused(message: str, hint: str | None = None) -> PydanticCustomError:
    """Make the error a validator raises: what is wrong and, if known, what to write instead."""
    return PydanticCustomError(REFUSED, "{message}", {"message": message, "hint": hint})
