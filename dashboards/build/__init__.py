"""Makes the dashboards: `python -m dashboards.build` writes dashboards/*.json, which are checked in.

With the rules, which are written by hand, they are copied into the Helm chart (chart.py).

pages (what is shown) ─> panels (how a panel is written) ─> page (where it stands, and the variables) ─> JSON
"""
