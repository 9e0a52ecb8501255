"""The console: files that a browser shows. What they show of this process, they ask /api for.

Read once; only what is there by name is served, so that no path leads elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

INDEX = "index.html"
PREFIX = "/console/"
TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file."""

    content: bytes
    type: str
    tag: str  # changes with the content


class ConsolePages:
    """One route for the page, one for its files. Browsers keep files, and ask whether they are still true."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._assets = dict(_read(files(__name__).joinpath("web"), ""))
        self._headers = {**headers, "cache-control": "no-cache"}

    @property
    def routes(self) -> list[Route]:
        return [Route("/", self.index), Route(f"{PREFIX}{{name:path}}", self.file)]

    async def index(self, request: Request) -> Response:
        return self._serve(request, INDEX)

    async def file(self, request: Request) -> Response:
        return self._serve(request, request.path_params["name"])

    def _serve(self, request: Request, name: str) -> Response:
        asset = self._assets.get(name)
        if asset is None:
            return Response("no such file\n", 404, self._headers, "text/plain")
        headers = {**self._headers, "etag": asset.tag}
        if request.headers.get("if-none-match") == asset.tag:
            return Response(status_code=304, headers=headers)
        return Response(asset.content, headers={**headers, "content-type": asset.type})


def is_console(path: str) -> bool:
    """Whether a path is of the page or its files, which nobody needs a token for."""
    return path == "/" or path.startswith(PREFIX)


def _read(directory: Traversable, prefix: str) -> Iterator[tuple[str, Asset]]:
    for entry in directory.iterdir():
        name = f"{prefix}{entry.name}"
        if entry.is_dir():
            yield from _read(entry, f"{name}/")
        elif (kind := TYPES.get(name.rpartition(".")[2])) is not None:
            content = entry.read_bytes()
            yield name, Asset(content, kind, f'"{sha256(content).hexdigest()[:20]}"')
