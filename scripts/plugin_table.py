"""Write docs/plugins.md: which of Avalanche's plugins run through the bridge, by trying every one of them.

python scripts/plugin_table.py
"""

import warnings
from pathlib import Path

from metaplast.atomic import write_text

PAGE = Path(__file__).parents[1] / "docs" / "plugins.md"


def main() -> None:
    """Try all plugins and write the page."""
    warnings.simplefilter("ignore")  # Avalanche's own, about parts of itself
    from metaplast.analysis.plugin_table import page

    write_text(PAGE, page())
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
