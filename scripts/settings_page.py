"""Rewrite docs/settings.md and conf/schema.json after a change of the schema or of a default.

python scripts/settings_page.py
"""

from pathlib import Path

from metaplast.config.reference import write

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    write(ROOT / "conf", ROOT / "docs")
