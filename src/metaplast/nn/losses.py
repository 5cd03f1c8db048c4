"""Task-incremental learning: only the classes of a sample's task count as answers, in training and in testing."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class TaskCrossEntropy(nn.CrossEntropyLoss):
    """Cross entropy over the classes of each sample's own task, −log softmax(z masked)_y, averaged over the batch.

    The task of a sample is that of its label, since no class is in two tasks; so a batch may mix tasks, as replay and
    joint training do, and each sample is masked by its own. No gradient reaches a logit that is masked.

    Args:
        n_classes: K.
        classes_of_task: the classes of each task, from 0 to K-1, none of them twice. A label in none has no answer
            that could be right: its loss is NaN.

    Raises:
        ValueError: if a class is in two tasks, or is none of the K; in a call, as of :meth:`mask`.

    Source: van de Ven and Tolias 2019 (arXiv 1904.07734).

    >>> loss = TaskCrossEntropy(4, [[0, 1], [2, 3]])
    >>> logits, labels = torch.tensor([[1.0, 1.0, 9.0, 9.0]]), torch.tensor([0])
    >>> loss.mask(logits, labels), loss(logits, labels)
    (tensor([[1., 1., -inf, -inf]]), tensor(0.6931))
    """

    allowed: Tensor
    """Whether class k may be answered where y is right, bool (K, K), rows y."""

    def __init__(self, n_classes: int, classes_of_task: Sequence[Sequence[int]]) -> None:
        super().__init__()
        listed = [label for classes in classes_of_task for label in classes]
        if len({*listed}) < len(listed) or not {*listed} <= {*range(n_classes)}:
            raise ValueError(f"classes_of_task: expected classes from 0 to {n_classes - 1}, each once, got {listed}")
        allowed = torch.zeros(n_classes, n_classes, dtype=torch.bool)
        for classes in map(list, classes_of_task):
            allowed[torch.tensor(classes, dtype=torch.long).unsqueeze(1), classes] = True
        self.register_buffer("allowed", allowed, persistent=False)

    def mask(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (N, K) with -inf for every class outside the task of the label (N,).

        Raises:
            ValueError: shapes or types do not fit or, on a CPU, a label is not from 0 to K-1.
        """
        n_classes = len(self.allowed)
        if logits.dim() != 2 or logits.shape[1] != n_classes or labels.shape != logits.shape[:1]:
            raise ValueError(
                f"logits.shape={tuple(logits.shape)}, labels.shape={tuple(labels.shape)}: "
                f"expected (N, {n_classes}) and (N,)"
            )
        if labels.dtype not in (torch.int64, torch.int32):
            raise ValueError(f"labels.dtype={labels.dtype}: expected torch.int64 or torch.int32")
        try:
            allowed = self.allowed.index_select(0, labels)  # which, unlike an index, does not count -1 from the end
        except IndexError as error:
            raise ValueError(
                f"labels={sorted({*labels.tolist()})}: expected classes from 0 to {n_classes - 1}"
            ) from error
        return logits.masked_fill(~allowed, -torch.inf)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross entropy of logits (N, K) and labels (N,) among the classes of each sample's task."""
        return super().forward(self.mask(logits, labels), labels.long())
