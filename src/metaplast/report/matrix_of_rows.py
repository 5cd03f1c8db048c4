"""The accuracy matrix as the rows of metrics.csv tell it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from metaplast.report.metrics_csv import accuracies


def matrices(rows: Sequence[Mapping[str, float]], n_tasks: int) -> Iterator[Tensor]:
    """Yield the accuracy matrix, float64 of shape (n_tasks, J), as it is after each row; NaN where not measured.

    A task that is being trained has the accuracies of its last row.

    >>> rows = [{"task": 0, "accuracy/task_0": 0.8, "accuracy/task_1": 0.1},
    ...         {"task": 0, "accuracy/task_0": 0.9, "accuracy/task_1": 0.2}]
    >>> [R.tolist() for R in matrices(rows, n_tasks=2)]
    [[[0.8, 0.1], [nan, nan]], [[0.9, 0.2], [nan, nan]]]
    """
    R = torch.full((n_tasks, len(accuracies(rows[0])) if rows else 0), torch.nan, dtype=torch.float64)
    for row in rows:
        R[int(row["task"])] = torch.tensor(accuracies(row), dtype=torch.float64)
        yield R.clone()


def n_trained(config: Mapping[str, Any], n_tested: int) -> int:
    """Tasks of the whole run, by its config.yaml; each has a test of its own, but the parts of a stream share one.

    >>> n_trained({"scenario": {"n_parts": 60}, "only_tasks": 4}, n_tested=1), n_trained({"scenario": {}}, n_tested=5)
    (4, 5)
    """
    n_parts: int = config["scenario"].get("n_parts", n_tested) if n_tested == 1 else n_tested
    return min(n_parts, config.get("only_tasks") or n_parts)
