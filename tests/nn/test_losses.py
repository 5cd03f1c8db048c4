"""Masks leave exactly the classes of each sample's own task, and the loss is that of a head of these alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from metaplast.nn import TaskCrossEntropy

Tasks = list[list[int]]


@st.composite
def tasks(draw: st.DrawFn) -> Tasks:
    """Classes 0 to K-1 dealt out to tasks, none of which is empty."""
    classes = draw(st.permutations(range(draw(st.integers(2, 8)))))
    ends = sorted(draw(st.sets(st.integers(1, len(classes) - 1))) | {len(classes)})
    return [classes[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@given(tasks(), st.data())
def test_a_mask_leaves_exactly_the_classes_of_the_task_of_each_sample(parts: Tasks, data: st.DataObject) -> None:
    n_classes = sum(map(len, parts))
    labels = torch.tensor(data.draw(st.lists(st.integers(0, n_classes - 1), min_size=1, max_size=9)))
    logits = torch.randn(len(labels), n_classes)
    masked = TaskCrossEntropy(n_classes, parts).mask(logits, labels)
    for row, before, label in zip(masked, logits, labels.tolist(), strict=True):
        (own,) = (part for part in parts if label in part)
        assert [k for k in range(n_classes) if row[k] > -torch.inf] == sorted(own)
        assert torch.equal(row[own], before[own])


@given(tasks(), st.data())
def test_the_loss_and_its_gradient_are_those_of_a_head_that_has_the_classes_of_the_task_alone(
    parts: Tasks, data: st.DataObject
) -> None:
    n_classes, own = sum(map(len, parts)), sorted(data.draw(st.sampled_from(parts)))
    places = torch.tensor(data.draw(st.lists(st.integers(0, len(own) - 1), min_size=1, max_size=5)))
    logits = torch.randn(len(places), n_classes, requires_grad=True)
    alone = logits.detach()[:, own].requires_grad_()
    loss, expected = (
        TaskCrossEntropy(n_classes, parts)(logits, torch.tensor(own)[places]),
        F.cross_entropy(alone, places),
    )
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    others = [k for k in range(n_classes) if k not in own]
    torch.testing.assert_close(logits.grad[:, own], alone.grad)
    assert not logits.grad[:, others].any()


def test_one_task_of_all_classes_is_plain_cross_entropy_to_the_bit() -> None:
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    assert torch.equal(TaskCrossEntropy(4, [range(4)])(logits, labels), F.cross_entropy(logits, labels))


def test_a_checkpoint_is_the_same_with_and_without_it() -> None:
    assert not TaskCrossEntropy(4, [[0, 1], [2, 3]]).state_dict()


@pytest.mark.parametrize("parts", [[[0, 1], [1]], [[0, 4]], [[-1]]])
def test_classes_in_two_tasks_and_classes_that_are_none_are_refused(parts: Tasks) -> None:
    with pytest.raises(ValueError, match="classes_of_task: expected classes from 0 to 3, each once, got "):
        TaskCrossEntropy(4, parts)


@pytest.mark.parametrize("label", [-1, -100, 4, 1000])
def test_a_label_that_is_no_class_is_refused(label: int) -> None:
    loss, logits = TaskCrossEntropy(4, [[0, 1], [2, 3]]), torch.zeros(2, 4)
    for call in (loss, loss.mask):
        with pytest.raises(ValueError, match=r"labels=\[.*\]: expected classes from 0 to 3"):
            call(logits, torch.tensor([0, label]))


@pytest.mark.parametrize(
    ("logits", "labels"),
    [((2, 3), (2,)), ((2, 5), (2,)), ((2, 1), (2,)), ((4,), ()), ((2, 4), (3,)), ((2, 4), (2, 1)), ((2, 4, 1), (2,))],
)
def test_shapes_that_do_not_fit_are_refused(logits: tuple[int, ...], labels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"logits\.shape=.*, labels\.shape=.*: expected \(N, 4\) and \(N,\)"):
        TaskCrossEntropy(4, [[0, 1], [2, 3]])(torch.zeros(logits), torch.zeros(labels, dtype=torch.long))


def test_labels_of_another_integer_type_are_taken_and_others_refused() -> None:
    loss, logits = TaskCrossEntropy(4, [[0, 1], [2, 3]]), torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert loss(logits, torch.tensor([2], dtype=torch.int32)) == loss(logits, torch.tensor([2]))
    for dtype in (torch.float32, torch.bool, torch.uint8):
        with pytest.raises(ValueError, match=r"labels\.dtype=torch\..*: expected torch\.int64"):
            loss(logits, torch.tensor([1], dtype=dtype))
