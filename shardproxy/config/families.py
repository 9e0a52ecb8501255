"""Key families: which keys share a slot because an application touches them together.

Presets know the key layouts of task queues. Every preset takes a `prefix`, for applications that set one, and
a `hash`, to keep all of the library's keys in one slot where the layout alone would spread them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from shardproxy.config.base import Section, refused
from shardproxy.config.patterns import Text, pattern_names

_NAMED = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class KeyFamily:
    """A rule as the data plane reads it."""

    match: str
    hash: str


class FamilyRule(Section):
    """Keys of one pattern that share a slot."""

    match: Annotated[Text, Field(examples=["bull:{queue}:*"])]
    """Which keys: `*` is any bytes, `{name}` one or more, `[0-9a-f]` one of a set, the rest itself."""
    hash: Annotated[Text, Field(examples=["{queue}"])]
    """What is hashed instead of the key: a `{name}` of the pattern, or a text, which is one slot for all."""

    @model_validator(mode="after")
    def _can_be_compiled(self) -> Self:
        names = pattern_names(self.match)
        named = _NAMED.fullmatch(self.hash)
        if named is None and ("{" in self.hash or "}" in self.hash):
            raise refused(
                f"hash is a {{name}} of the pattern or a text without braces, not {self.hash}",
                'as in hash: "{queue}" or hash: rq',
            )
        if named is not None and (count := names.count(named[1])) != 1:
            known = ", ".join(f"{{{name}}}" for name in dict.fromkeys(names)) or "none"
            raise refused(
                f"{self.hash} stands {count} times in match, and has to once", f"names in match: {known}"
            )
        return self

    def rules(self) -> tuple[KeyFamily, ...]:
        return (KeyFamily(self.match, self.hash),)


class Preset(Enum):
    """Libraries whose key layout is known."""

    BULLMQ = "bullmq"
    CELERY = "celery"
    RQ = "rq"
    SIDEKIQ = "sidekiq"


def _plain(value: str) -> str:
    if any(mark in value for mark in "*[]{}"):
        raise refused("stands for itself here, so * [ ] { } cannot be in it")
    return value


Plain = Annotated[Text, AfterValidator(_plain)]


class FamilyPreset(Section):
    """The keys of a library; its name alone says the same in short."""

    preset: Preset
    """Whose keys: `bullmq`, `celery`, `rq` or `sidekiq`."""
    prefix: Annotated[str, Field(max_length=100), AfterValidator(_plain)] | None = None
    """What the application makes keys begin with. Default: the library's own."""
    hash: Plain | None = None
    """Keep all of the library's keys in the slot of this text. bullmq needs it for flows across queues."""
    queues: Annotated[tuple[Plain, ...], Field(min_length=1, max_length=1000)] | None = None
    """Names of the queues; only for celery, whose queues are keys of any name. Default: celery."""

    @model_validator(mode="after")
    def _queues_are_used(self) -> Self:
        if self.queues is not None and self.preset is not Preset.CELERY:
            raise refused(f"{self.preset.value} queues are known by their keys", "leave out queues")
        return self

    def rules(self) -> tuple[KeyFamily, ...]:
        default, layout = LAYOUTS[self.preset]
        prefix = default if self.prefix is None else self.prefix
        rules = layout(prefix, self.queues or ("celery",))
        return tuple(KeyFamily(rule.match, self.hash or rule.hash) for rule in rules)


Queues = tuple[str, ...]
Layout = Callable[[str, Queues], tuple[KeyFamily, ...]]


def _bullmq(prefix: str, _: Queues) -> tuple[KeyFamily, ...]:
    """A script touches the keys of one queue, which has no colon in its name."""
    return (KeyFamily(f"{prefix}:{{queue}}:*", "{queue}"),)


def _rq(prefix: str, _: Queues) -> tuple[KeyFamily, ...]:
    """A transaction touches a job, its queue, several registries and the worker."""
    return (KeyFamily(f"{prefix}:*", prefix),)


HEX_12 = "[0-9a-f]" * 12
SIDEKIQ = (
    "queue:*",
    "queues",
    "paused",
    "schedule",
    "retry",
    "dead",
    "processes",
    "stat:*",
    f"*:[0-9]*:{HEX_12}",  # a process: host, process id, nonce
    f"*:[0-9]*:{HEX_12}:work*",  # what it works on
    f"*:[0-9]*:{HEX_12}-signals",
)


def _sidekiq(prefix: str, _: Queues) -> tuple[KeyFamily, ...]:
    """BRPOP takes several queues, a transaction a process and `processes`, or a queue and `queues`."""
    return tuple(KeyFamily(prefix + match, f"{prefix}sidekiq") for match in SIDEKIQ)


PRIORITY = "\x06\x16*"  # kombu's separator, and the priority
CELERY = ("unacked", "unacked_index", "unacked_mutex", "_kombu.*", "*.celery.pidbox", "celeryev.*", "*.dq2")


def _celery(prefix: str, queues: Queues) -> tuple[KeyFamily, ...]:
    """BRPOP takes several queues, a transaction queues and unacked; results share keys in a group only."""
    group = f"{prefix}celery-taskset-meta-{{group}}"
    places = (*CELERY, *queues)
    return (
        *(KeyFamily(prefix + match, f"{prefix}celery") for match in places),
        *(
            KeyFamily(prefix + match.removesuffix("*") + PRIORITY, f"{prefix}celery")
            for match in places
            if not match.startswith(("unacked", "_kombu", "celeryev"))
        ),
        KeyFamily(f"{group}.[a-z]", "{group}"),
        KeyFamily(group, "{group}"),
    )


# The library's own prefix, and its layout.
LAYOUTS: Mapping[Preset, tuple[str, Layout]] = {
    Preset.BULLMQ: ("bull", _bullmq),
    Preset.CELERY: ("", _celery),
    Preset.RQ: ("rq", _rq),
    Preset.SIDEKIQ: ("", _sidekiq),
}


# How a family is written; the names stand in the locations of errors.
RULE, PRESET = "a rule", "a preset"
FORMS: Mapping[str, type[Section]] = {RULE: FamilyRule, PRESET: FamilyPreset}


def _as_family(value: object) -> object:
    return {"preset": value} if isinstance(value, str) else value


def _form(value: object) -> str:
    is_preset = isinstance(value, FamilyPreset) or (isinstance(value, Mapping) and "preset" in value)
    return PRESET if is_preset else RULE


Family = Annotated[
    Annotated[FamilyRule, Tag(RULE)] | Annotated[FamilyPreset, Tag(PRESET)],
    Discriminator(_form),
    BeforeValidator(_as_family, json_schema_input_type=Preset | FamilyRule | FamilyPreset),
]
