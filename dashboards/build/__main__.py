"""Writes the dashboards, and what the Helm chart ships of them and of the rules."""

from __future__ import annotations

from dashboards.build.chart import copies_write
from dashboards.build.page import files_of
from dashboards.build.pages import PAGES

for path, text in files_of(PAGES).items():
    path.write_text(text)
copies_write()
