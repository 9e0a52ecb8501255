"""Writes the dashboards."""

from __future__ import annotations

from dashboards.build.page import files_of
from dashboards.build.pages import PAGES

for path, text in files_of(PAGES).items():
    path.write_text(text)
