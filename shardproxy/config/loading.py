"""From a file to a Config, or to all that is wrong with it."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from shardproxy.config.document import read_document
from shardproxy.config.errors import ConfigError, Problem
from shardproxy.config.explain import explain
from shardproxy.config.plain import SilentPipeError, read_bytes
from shardproxy.config.root import Config
from shardproxy.config.source import Source

MAX_FILE = 8 << 20  # bytes

_START = "start with the example in config/standalone.yaml"


def load_config(path: str | Path) -> Config:
    """Read a config file; raise ConfigError with every problem in it."""
    return parse_config(read_text(path), str(path))


def read_text(path: str | Path) -> str:
    """Read a file of UTF-8 text; raise ConfigError when that cannot be."""
    source = str(path)
    try:
        content = read_bytes(path, MAX_FILE + 1)
    except FileNotFoundError:
        raise _refused(source, "there is no such file", "check the path") from None
    except IsADirectoryError:
        raise _refused(source, "is a directory", "give a file in it") from None
    except SilentPipeError as e:
        raise _refused(source, str(e.strerror), "give a file, or have something write into it") from None
    except OSError as e:
        raise _refused(source, f"cannot be read: {e.strerror}", "check who may read it") from None
    except ValueError as e:
        raise _refused(source, f"cannot be read: {e}") from None
    return text_of(content, source)


def text_of(content: bytes, source: str) -> str:
    """The text that a file of that name holds; raise ConfigError when it is none, or too long."""
    if len(content) > MAX_FILE:
        raise _refused(source, f"is larger than {MAX_FILE >> 20} MiB", "is it the right file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        before = content[: e.start]
        line, column = before.count(b"\n") + 1, e.start - (before.rfind(b"\n") + 1) + 1
        message = f"is not UTF-8 text: byte 0x{content[e.start]:02x}"
        raise ConfigError(source, (Problem(line, column, "", message, "save it as UTF-8"),)) from None


def parse_config(text: str, source: str = "config") -> Config:
    """Read the text of a config; raise ConfigError, in which `source` names the text."""
    document = read_document(text)
    problems = list(document.problems)
    if document.value is None and not problems:
        raise _refused(source, "is empty", _START)
    config = None
    if isinstance(document.value, dict):
        try:
            config = Config.model_validate(document.value)
        except ValidationError as e:
            problems += explain(e, document)
    elif document.value is not None:
        place = document.place(())
        problems.append(
            Problem(place.line, place.column, "", "must be a mapping of keys to values at the top", _START)
        )
    if problems or config is None:
        raise ConfigError(source, problems)
    return config.read_from(Source(source, document))


def _refused(source: str, message: str, hint: str | None = None) -> ConfigError:
    return ConfigError(source, (Problem(0, 0, "", message, hint),))
