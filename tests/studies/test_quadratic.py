"""The quadratic task's formulas against brute force, and every step of the derivation as a law."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaplast.studies.quadratic import (
    Array,
    QuadraticTask,
    binary_optimum,
    cube_optimum,
    random_rotation,
    random_task,
    sign,
    switch_cost,
    train_through_signs,
    velocity_at,
)

ROUNDING = 1e-9  # of gradients up to about 400; float64 leaves 1e-12
seeds = st.integers(0, 2**32 - 1)
dimensions = st.integers(1, 8)
rates = st.floats(1e-3, 10)


def drawn(n: int, seed: int) -> tuple[QuadraticTask, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return random_task(n, rng), rng


def corners(n: int) -> list[Array]:
    return [np.array(corner) for corner in product([-1.0, 1.0], repeat=n)]


@given(n=dimensions, seed=seeds)
def test_the_cost_of_a_switch_is_the_loss_after_it_minus_the_loss_before(n: int, seed: int) -> None:
    task, rng = drawn(n, seed)
    signs = sign(rng.standard_normal(n))
    for i, cost in enumerate(switch_cost(task, signs)):
        switched = signs.copy()
        switched[i] *= -1
        assert cost == pytest.approx(task.loss(switched) - task.loss(signs), abs=ROUNDING)


@given(n=dimensions, seed=seeds)
def test_the_gradient_is_the_slope_of_the_loss(n: int, seed: int) -> None:
    task, rng = drawn(n, seed)
    weights, direction = rng.standard_normal((2, n))
    # Central differences of a quadratic are exact for any step.
    slope = (task.loss(weights + direction) - task.loss(weights - direction)) / 2
    assert task.gradient(weights) @ direction == pytest.approx(slope, abs=ROUNDING)


@given(n=st.integers(1, 30), seed=seeds, decades=st.sampled_from([0, 1, 3]))
def test_the_optimum_of_the_cube_meets_its_kkt_conditions_in_round_bowls_and_in_long_valleys(
    n: int, seed: int, decades: int
) -> None:
    rng = np.random.default_rng(seed)
    rotation = random_rotation(n, rng)
    H = rotation * 10 ** rng.uniform(-decades, decades, n) @ rotation.T
    task = QuadraticTask((H + H.T) / 2, rng.uniform(-4, 4, n))
    optimum = cube_optimum(task)
    gradient = task.gradient(optimum)
    rounding = 1e-12 * np.linalg.norm(H) * n
    assert (np.abs(optimum) <= 1).all()
    assert (gradient[optimum == 1] <= rounding).all()
    assert (gradient[optimum == -1] >= -rounding).all()
    assert np.abs(gradient[np.abs(optimum) < 1]).max(initial=0) <= rounding


@given(n=dimensions, seed=seeds)
def test_no_corner_is_below_the_optimum_of_the_cube_and_no_neighbour_below_the_binary_one(n: int, seed: int) -> None:
    task, _ = drawn(n, seed)
    optimum = cube_optimum(task)
    corner = binary_optimum(task, optimum)
    assert (np.abs(corner) == 1).all()
    assert switch_cost(task, corner).min() >= -ROUNDING
    assert task.loss(optimum) <= min(task.loss(c) for c in corners(n)) + ROUNDING


@given(n=dimensions, seed=seeds)
def test_where_no_weight_settles_the_optimum_of_the_cube_is_the_best_corner(n: int, seed: int) -> None:
    task, rng = drawn(n, seed)
    far = QuadraticTask(task.H, 100 * n * sign(rng.standard_normal(n)))
    optimum = cube_optimum(far)
    if (np.abs(optimum) == 1).all():
        best = min(corners(n), key=far.loss)
        assert np.array_equal(optimum, best)
        assert np.array_equal(binary_optimum(far, optimum), best)


def test_the_search_for_a_corner_ends_where_two_are_equally_good() -> None:
    task = QuadraticTask(np.array([[0.1, 0.03], [0.03, 0.7]]), optimum=np.zeros(2))
    corner = binary_optimum(task, np.array([1.0, 1.0]))
    assert task.loss(corner) == pytest.approx(min(task.loss(c) for c in corners(2)))


@given(n=dimensions, seed=seeds, lr=rates, steps=st.integers(1, 40))
def test_hidden_weights_are_their_start_minus_the_gradient_at_the_averaged_signs(
    n: int, seed: int, lr: float, steps: int
) -> None:
    task, rng = drawn(n, seed)
    hidden = train_through_signs(task, rng.standard_normal(n), lr, steps)
    averaged = sign(hidden[:-1]).mean(axis=0)
    summed = hidden[0] - lr * steps * task.gradient(averaged)
    assert np.allclose(hidden[-1], summed, rtol=1e-9, atol=ROUNDING * max(1, lr * steps))


@settings(deadline=None)
@given(n=dimensions, seed=seeds, lr=rates)
def test_the_averaged_signs_near_the_optimum_of_the_cube_at_the_rate_of_the_derivation(
    n: int, seed: int, lr: float
) -> None:
    task, rng = drawn(n, seed)
    start, steps = rng.standard_normal(n), 200
    hidden = train_through_signs(task, start, lr, steps)
    T = np.arange(1, steps + 1)
    averaged = sign(hidden[:-1]).cumsum(axis=0) / T[:, None]
    gap = np.array([task.loss(s) for s in averaged]) - task.loss(cube_optimum(task))
    # (T+1) h_{T+1} ≤ T h_T + 2 ‖θ_0‖₁ / (ηT) + D² / (2 (T+1)), at every step
    diameter = 4 * n * np.linalg.eigvalsh(task.H)[-1]
    allowed = T[:-1] * gap[:-1] + 2 * np.abs(start).sum() / (lr * T[:-1]) + diameter / (2 * T[1:])
    assert (T[1:] * gap[1:] <= allowed + ROUNDING * T[1:]).all()


@given(curvature=st.lists(st.floats(0.5, 50), min_size=1, max_size=6), seed=seeds, lr=rates)
def test_without_coupling_a_weight_diverges_by_how_far_its_optimum_lies_beyond_one(
    curvature: list[float], seed: int, lr: float
) -> None:
    optimum = np.random.default_rng(seed).uniform(-4, 4, len(curvature))
    task = QuadraticTask(np.diag(curvature), optimum)
    beyond = np.maximum(np.abs(optimum) - 1, 0) * np.sign(optimum)
    assert np.allclose(velocity_at(task, cube_optimum(task), lr), lr * np.array(curvature) * beyond, atol=ROUNDING * lr)


@given(n=dimensions, seed=seeds)
def test_inside_the_cube_nothing_diverges(n: int, seed: int) -> None:
    task, rng = drawn(n, seed)
    inside = QuadraticTask(task.H, rng.uniform(-0.99, 0.99, n))
    assert np.allclose(cube_optimum(inside), inside.optimum, atol=ROUNDING)


def test_rotations_are_orthogonal_and_uniform() -> None:
    rng = np.random.default_rng(0)
    Q = np.stack([random_rotation(3, rng) for _ in range(2000)])
    assert np.allclose(Q @ Q.transpose(0, 2, 1), np.eye(3))
    # Under Haar measure each entry has mean 0 and variance 1/3; LAPACK's signs alone make Q[0, 0] negative throughout.
    assert np.abs(Q.mean(axis=0)).max() < 5 * np.sqrt(1 / 3 / 2000)
    assert np.allclose((Q**2).mean(axis=0), 1 / 3, atol=5 * np.sqrt(4 / 45 / 2000))  # variance of q² is 1/5 − 1/9


def test_the_random_task_has_the_papers_ranges() -> None:
    task, _ = drawn(300, 0)
    eigenvalues = np.linalg.eigvalsh(task.H)
    assert 10.5 <= eigenvalues.min() < 11 < 29 < eigenvalues.max() <= 29.5
    assert 3.9 < np.abs(task.optimum).max() <= 4


@pytest.mark.parametrize(
    ("H", "optimum", "message"),
    [
        (np.eye(2), np.zeros(3), r"expected shapes \(n, n\) and \(n,\), got \(2, 2\) and \(3,\)"),
        (np.eye(2), np.zeros((2, 1)), r"expected shapes \(n, n\) and \(n,\), got \(2, 2\) and \(2, 1\)"),
        (np.array([[1.0, 0.5], [0.0, 1.0]]), np.zeros(2), "expected a symmetric matrix with eigenvalues > 0"),
        (np.diag([1.0, 0.0]), np.zeros(2), "expected a symmetric matrix with eigenvalues > 0"),
    ],
)
def test_a_task_that_is_no_bowl_is_refused(H: Array, optimum: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QuadraticTask(H, optimum)
