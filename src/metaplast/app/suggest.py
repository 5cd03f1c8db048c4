"""The word that was probably meant."""

import difflib
from collections.abc import Iterable


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the entry of `known` that `word` begins or is most like, or None.

    Of a dotted key, what stands after the last dot is enough.

    >>> closest("epochs", ["seed", "epochs_per_task"])
    'epochs_per_task'
    >>> closest("optimizer.lr", ["seed", "strategy.optimizer.lr"])
    'strategy.optimizer.lr'
    >>> closest("xyz", ["seed"]) is None
    True
    """
    meant: dict[str, str] = {}
    for key in known:
        meant.setdefault(key, key)
        meant.setdefault(_last(key), key)
    for attempt in (word, _last(word)):
        begun = [candidate for candidate in meant if len(attempt) > 2 and candidate.startswith(attempt)]
        for candidate in begun or difflib.get_close_matches(attempt, meant, n=1, cutoff=0.7):
            return meant[candidate]
    return None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return " (did you mean …?)" to put behind an error, or nothing where no entry of `known` is like `word`."""
    match = closest(word, known)
    return f" (did you mean {match}?)" if match else ""


def _last(key: str) -> str:
    return key.rpartition(".")[2]
