"""What a run shows in Weights & Biases: the accuracy matrix as picture, table and chart, hidden weights as histograms.

W&B is imported when the first of these is made.
"""

import io
import math
from typing import TYPE_CHECKING, Any

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from metaplast.metrics.heatmap import draw_accuracy_matrix, figure_size

if TYPE_CHECKING:
    import wandb

BINS = 64
"""Of a histogram; W&B takes up to 512."""


def matrix_image(R: Tensor) -> "wandb.Image":
    """The accuracy matrix R, shape (T, T), as a heat map in percent; logged after each task, they are a film."""
    import wandb

    figure = Figure(figsize=figure_size(len(R)), layout="constrained")
    draw_accuracy_matrix(R, figure.add_subplot())
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=120)
    return wandb.Image(Image.open(png))


def matrix_table(R: Tensor) -> "wandb.Table":
    """The accuracy matrix R, shape (T, T), as a table of fractions: a row after each task, empty where not measured."""
    import wandb

    columns: list[str | int] = ["after task", *(f"task_{j}" for j in range(len(R)))]
    return wandb.Table(columns=columns, data=[[i, *map(_or_none, row)] for i, row in enumerate(R.tolist())])


def matrix_chart(R: Tensor) -> Any:
    """The accuracy matrix R, shape (T, T), as W&B's own heat map, in percent, without the cells not measured.

    W&B's only heat map is that of a confusion matrix, and its function wants labels to count; the chart behind it takes
    any numbers, under the names that it gives them.
    """
    import wandb

    cells = [
        [f"after task {i}", f"task {j}", 100 * accuracy]
        for i, row in enumerate(R.tolist())
        for j, accuracy in enumerate(row)
        if not math.isnan(accuracy)
    ]
    names = "Actual", "Predicted", "nPredictions"
    return wandb.plot_table(
        vega_spec_name="wandb/confusion_matrix/v1",
        data_table=wandb.Table(columns=[*names], data=cells),
        fields={name: name for name in names},
        string_fields={"title": "test accuracy, %"},
    )


def weights_histogram(hidden: Tensor) -> "wandb.Histogram":
    """Histogram of hidden weights of any shape, counted on their device; those that are not finite are left out."""
    import wandb

    values = hidden.detach().float()
    low, high = _range(values)
    if not math.isfinite(high - low):  # the check costs more than the histogram, so it is not made in advance
        low, high = _range(values[values.isfinite()])
    if low == high:  # one value needs a bin with a width, too
        low, high = low - 0.5, high + 0.5
    counts = torch.histc(values, BINS, low, high)
    edges = torch.linspace(low, high, BINS + 1)
    return wandb.Histogram(np_histogram=(counts.cpu().numpy(), edges.numpy()))


def _range(values: Tensor) -> tuple[float, float]:
    low, high = values.aminmax() if values.numel() else (0.0, 0.0)
    return float(low), float(high)


def _or_none(accuracy: float) -> float | None:
    return None if math.isnan(accuracy) else accuracy
