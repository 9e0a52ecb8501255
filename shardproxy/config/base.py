"""What every section of the config file has in common."""

from __future__ import annotations

import os
from typing import Self

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

# No plugin has a say in what a config means; looking for one reads the metadata of everything installed.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "true")

REFUSED = "refused"  # the type of an error whose text is already in the user's words


class Section(BaseModel):
    """A mapping in the file: no unknown keys, values never change, errors never show what was typed.

    What a key means is the docstring below it, which only the schema reads: parsing all of them takes longer
    than reading a config. `defer_build`: a section is built once, as part of what it stands in.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)

    @classmethod
    def as_default(cls) -> Self:
        """Make what stands for a section that is not written; a call would build the section, by itself."""
        return cls.model_construct()


def refused(message: str, hint: str | None = None) -> PydanticCustomError:
    """Make the error a validator raises: what is wrong and, if known, what to write instead."""
    return PydanticCustomError(REFUSED, "{message}", {"message": message, "hint": hint})
