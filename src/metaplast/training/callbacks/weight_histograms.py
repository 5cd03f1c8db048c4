"""hidden_weights.npz and .png: a histogram of every layer's hidden weights after every task."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from metaplast.io import atomic_path
from metaplast.metrics.histogram import weight_histogram
from metaplast.report.figures.paper import write_histograms_figure
from metaplast.runs.paths import HIDDEN_WEIGHTS
from metaplast.runs.tables import read_histograms


class WeightHistograms:
    """A logger of the recorder that adds a histogram of every layer after every task.

    Args:
        folder: of the files. Files of a resumed run are continued; rows of tasks that are trained again are replaced.
        weights: the hidden weights by layer, as they are trained.
    """

    def __init__(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        self.folder, self.weights = folder, dict(weights)

    def write(self, row: Mapping[str, float | int]) -> None:
        """Nothing: histograms are of tasks."""

    def log_accuracy_matrix(self, task: int, R: Tensor) -> None:
        """Rewrite the files with a row for `task`; nothing for a network without binary layers."""
        if not self.weights:
            return
        path = self.folder / HIDDEN_WEIGHTS
        rows = read_histograms(path) if path.exists() else {}
        for name, hidden in self.weights.items():
            for part, values in weight_histogram(hidden)._asdict().items():
                before = rows.get(f"{name}/{part}", np.empty((0, len(values)), np.float32))[:task]
                rows[f"{name}/{part}"] = np.vstack([before, values.numpy()])
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, **rows)  # type: ignore[arg-type]  # names are free, numpy's stubs think
        write_histograms_figure(path.with_suffix(".png"), {"": rows})
