"""The console's files: whole, of this package alone, and served to whoever may connect."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from shardproxy.admin import console
from shardproxy.admin.callers import Callers, Right
from tests.unit.app.test_admin import running_admin

WEB = Path(str(files(console))) / "web"
OURS = sorted(path for path in WEB.rglob("*") if path.is_file() and "vendor" not in path.parts)


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(WEB)))
def test_a_file_asks_nobody_outside_and_what_it_names_is_there(path: Path) -> None:
    text = path.read_text()
    without = text.replace("http://www.w3.org/2000/svg", "")
    assert re.findall(r"(?:https?:)?//[a-z][\w.-]*\.[a-z]+", without) == []
    for name in re.findall(r"""(?:from|import)\s+['"]([^'"]+)['"]""", text):
        assert name.startswith("."), "a browser finds no package by its name"
        assert (path.parent / name).is_file(), name
    for name in re.findall(r'(?:href|src)="(console/[^"]+)"', text):
        assert (WEB / name.removeprefix("console/")).is_file(), name


def test_the_page_works_behind_a_path_and_has_nothing_inline() -> None:
    page = (WEB / console.INDEX).read_text()
    assert re.findall(r'(?:href|src)="/', page) == []
    assert "<style" not in page
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"""\s(?:style|on\w+)=["']""", page)


def test_what_is_not_ours_comes_with_its_licence() -> None:
    licences = (WEB / "vendor" / "LICENSES.txt").read_text()
    for path in (WEB / "vendor").glob("*.js"):
        assert path.name in licences
        assert "licence" in path.read_text().splitlines()[0]
    assert "MIT License" in licences
    assert "Apache License" in licences


async def test_the_page_and_its_files_are_served_under_a_strict_policy() -> None:
    async with running_admin() as admin:
        page = await admin.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.text == (WEB / console.INDEX).read_text()
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        script = await admin.get("/console/views/overview.js")
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        known = {"if-none-match": script.headers["etag"]}
        assert (await admin.get("/console/views/overview.js", headers=known)).status_code == 304
        for path in ("/console/", "/console/no.js", "/console/__init__.py", "/console/../__init__.py"):
            assert (await admin.get(path)).status_code == 404, path
        for path in ("/console/%2e%2e/%2e%2e/gate.py", "/console//etc/passwd", "/console/views"):
            assert (await admin.get(path)).status_code == 404, path


async def test_the_page_needs_no_token_and_nothing_else_is_open() -> None:
    async with running_admin() as admin:
        admin.status.change(callers=Callers(here=Right.NONE, elsewhere=Right.NONE))
        for path in ("/", "/console/app.js", "/livez"):
            assert (await admin.get(path)).status_code == 200, path
        for path in ("/api/stream", "/api/config", "/api/process", "/api/status", "/metrics", "/consolex"):
            assert (await admin.get(path)).status_code == 401, path


async def test_whoever_asks_is_told_who_they_are_and_what_they_may() -> None:
    async with running_admin() as admin:
        said = (await admin.get("/api/process")).json()
        assert (said["caller"], said["rights"]) == ("127.0.0.1", "act")
        assert said["why_not_ready"] == ["cluster main is not served yet"]
        admin.status.change(callers=Callers(here=Right.READ, elsewhere=Right.NONE))
        assert (await admin.get("/api/process")).json()["rights"] == "read"
