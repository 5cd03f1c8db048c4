"""How mkdocs reads this repository: files outside docs/, notebooks, links, docstrings and formulas."""

import json
import re
from pathlib import Path
from typing import Any

import griffe
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the repository's top level, and the notebooks as pages."""
    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=_as_markdown(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Keep the text, not the link, where a link leads to a file that is not part of the site."""
    return re.sub(r"\[([^\]]+)\]\((?:\.\./[^)]*|[\w/]+\.(?:cff|py)|LICENSE)\)", r"\1", markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Render formulas as MathML, which browsers show by themselves."""
    return re.sub(r'<(div|span) class="arithmatex">\\[\[(](.*?)\\[\])]</\1>', _mathml, html, flags=re.DOTALL)


class Docstrings(griffe.Extension):
    """Docstrings as Markdown: examples as blocks of code, and no roles of Sphinx."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Translate the docstring of a module, class, function or attribute."""
        if obj.docstring:
            text = re.sub(r":(?:class|func|meth|mod|attr):`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", obj.docstring.value)
            text = re.sub(r"::$", ":", text, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r"^>>> .*(?:\n.+)*", r"```pycon\n\g<0>\n```", text, flags=re.MULTILINE)


def _mathml(match: re.Match[str]) -> str:
    return convert(
        match[2].replace("&amp;", "&").replace("&gt;", ">"), display="block" if match[1] == "div" else "inline"
    )


def _as_markdown(notebook: Path) -> str:
    parts = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            data = output.get("data", {"text/plain": output.get("text", "")})
            if "image/png" in data:
                parts.append(f"![](data:image/png;base64,{data['image/png'].strip()})")
            else:
                parts.append(f"```text\n{''.join(data['text/plain'])}\n```")
    parts.append(
        f"[The notebook]({notebook.name}) of this page runs in Jupyter and in Colab (*File*, *Upload notebook*)."
    )
    return "\n\n".join(parts)
