"""Makes the dashboards: `python -m dashboards.build` writes dashboards/*.json, which are checked in.

pages (what is shown) ─> panels (how a panel is written) ─> page (where it stands, and the variables) ─> JSON
"""
