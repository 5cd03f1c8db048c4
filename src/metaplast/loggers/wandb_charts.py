"""What a run shows in Weights & Biases: the accuracy matrix as picture, table and chart, hidden weights as histograms.

W&B is imported when the first of these is made.
"""

import io
import math
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from metaplast.metrics.heatmap import draw_accuracy_matrix, figure_size
from metaplast.metrics.hidden_weights import weight_histogram

if TYPE_CHECKING:
    import wandb


def matrix_image(R: Tensor) -> "wandb.Image":
    """The accuracy matrix R, (T, T) or (T, 1), as a heat map in percent; logged after each task, they are a film."""
    import wandb

    figure = Figure(figsize=figure_size(*R.shape), layout="constrained")
    draw_accuracy_matrix(R, figure.add_subplot())
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=120)
    return wandb.Image(Image.open(png))


def matrix_table(R: Tensor) -> "wandb.Table":
    """The accuracy matrix R, (T, T) or (T, 1), as a table of fractions: a row after each task, empty: not measured."""
    import wandb

    columns: list[str | int] = ["after task", *(f"task_{j}" for j in range(R.shape[1]))]
    return wandb.Table(columns=columns, data=[[i, *map(_or_none, row)] for i, row in enumerate(R.tolist())])


def matrix_chart(R: Tensor) -> Any:
    """The accuracy matrix R, shape (T, T) or (T, 1), as W&B's own heat map, in percent, without the cells not measured.

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

    counts, edges = weight_histogram(hidden)
    return wandb.Histogram(np_histogram=(counts.numpy(), edges.numpy()))


def _or_none(accuracy: float) -> float | None:
    return None if math.isnan(accuracy) else accuracy
