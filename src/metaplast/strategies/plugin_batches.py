"""A loader that a plugin made, as Lightning's loop needs it."""

from collections.abc import Iterator
from typing import Any

from metaplast.errors import UserError


class PluginBatches:
    """A loader made by a plugin, for Lightning's loop, which wants a length and may ask for more than one iterator.

    Raises UserError for one without a length, and RuntimeError for one that ends before its length.
    """

    def __init__(self, loader: Any) -> None:
        if not hasattr(loader, "__len__"):
            raise UserError(
                f"a plugin made a loader without a length ({type(loader).__name__}), by which no epoch can end"
            )
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        given = 0
        for batch in self.loader:  # asked for its iterator only now: that draws random numbers
            given += 1
            yield batch
        if given < len(self):
            raise RuntimeError(f"a plugin's loader gave {given} batches, but its length is {len(self)}")
