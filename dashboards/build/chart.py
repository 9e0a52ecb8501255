"""What the Helm chart ships of the dashboards and rules: copies, as helm reads nothing outside of a chart."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1]
CHART = FOLDER.parent / "deploy" / "helm" / "shardproxy" / "files" / "dashboards"


def copies() -> dict[Path, str]:
    """Its files, and their texts."""
    kept = (*FOLDER.glob("*.json"), *FOLDER.glob("*.yaml"))
    return {CHART / path.name: path.read_text() for path in kept}


def copies_write() -> None:
    """Have the chart ship these and no others."""
    CHART.mkdir(parents=True, exist_ok=True)
    texts = copies()
    for path in set(CHART.iterdir()) - set(texts):
        path.unlink()
    for path, text in texts.items():
        path.write_text(text)
