"""What the configuration directory offers, read from the names and comments of its files."""

from pathlib import Path


def groups(conf: Path) -> list[str]:
    """Return the names of the groups that a user chooses from."""
    return sorted(folder.name for folder in conf.iterdir() if folder.is_dir() and folder.name != "hydra")


def choices(conf: Path, group: str) -> dict[str, str]:
    """Return the choices of `group`, each with what the first comment in its file says."""
    return {path.stem: _comment(path) for path in sorted((conf / group).glob("*.yaml"))}


def _comment(path: Path) -> str:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not line.startswith("# @package"):
            return line.lstrip("# ")
    return ""
