"""The quadratic binary task, in which it can be proved which hidden weights diverge, and how fast.

The loss is quadratic, and hidden weights θ (the paper's W^h) learn through their signs s (its W^b):

    L(W)    = ½ (W − W*)ᵀ H (W − W*)                  H symmetric positive definite,  ∇L(W) = H (W − W*)
    s_t     = sign θ_t                                 a corner of the cube C = [−1, 1]ⁿ
    θ_{t+1} = θ_t − η ∇L(s_t)

**The speed of divergence.** Let s̄_T = (1/T) Σ_{t<T} s_t be the binary weights averaged over T steps. ∇L is affine, so
the sum of all steps is, exactly and for every T,

    (1)    θ_T = θ_0 − η T ∇L(s̄_T)

*The average finds the optimum of the cube.* Of all s in C, s_T = sign θ_T has the largest ⟨s, θ_T⟩, which by (1) is the
smallest ⟨s, ∇L(s̄_T) − θ_0/(ηT)⟩; and s̄_{T+1} = s̄_T + (s_T − s̄_T)/(T+1). Except for the term in θ_0, which vanishes,
this is the Frank–Wolfe method on L over C with steps 1/(T+1) (equivalent to herding: Bach et al. 2012). Let s̄ be the
minimizer of L over C, unique since H is positive definite, h_T = L(s̄_T) − L(s̄), and D² = 4 n λ_max(H) a bound on (s −
s')ᵀ H (s − s') over C. Expanding L about s̄_T, then using that s_T is that smallest one and that L is convex,

    h_{T+1}       ≤ h_T + (1/(T+1)) ⟨∇L(s̄_T), s_T − s̄_T⟩ + D² / (2 (T+1)²)
    ⟨∇L(s̄_T), s_T − s̄_T⟩  ≤ ⟨∇L(s̄_T), s̄ − s̄_T⟩ + ⟨θ_0/(ηT), s_T − s̄⟩  ≤ −h_T + 2 ‖θ_0‖₁ / (ηT)
    (T+1) h_{T+1} ≤ T h_T + 2 ‖θ_0‖₁ / (ηT) + D² / (2 (T+1))
    (2)    h_T = O(log T / T),  and by strong convexity  ‖s̄_T − s̄‖ = O(√(log T / T))

*What the optimum of the cube looks like.* It is characterized by its KKT conditions: with g = ∇L(s̄), for every i

    (3)    g_i ≤ 0 if s̄_i = 1,     g_i ≥ 0 if s̄_i = −1,     g_i = 0 if −1 < s̄_i < 1

*So there are two kinds of weights.* By (1) and (2), θ_T / T → v with

    (4)    v = −η ∇L(s̄) = −η H (s̄ − W*)

A weight with v_i ≠ 0 diverges linearly at that velocity, its sign fixed at s̄_i = sign v_i. The others have v_i = 0:
they converge in the sense θ_T = o(T), and flip so that their signs average to s̄_i, which no single binary value can
do.

**Which point is "the binary optimum"?** The paper speaks of the averaged gradient at the binary optimum. The dynamics
average to ∇L(s̄), where s̄ is binary in each weight that diverges and the mean of its signs in each that converges. If
all weights diverge, s̄ is a corner, and the best of all corners. Otherwise the gradient at a corner b is another vector,
since −η H (b − W*) counts each converging weight as ±1: it is close for the weights that diverge and wrong for those
that converge. `velocity_at` computes either.

**From speed to importance.** Flipping the sign of weight i costs, exactly, ΔL_i(s) = −2 s_i ∇L(s)_i + 2 H_ii. While
s_i is fixed, the average of this over time is 2 |v_i| / η + 2 H_ii, and |θ_i| ≈ |v_i| T:

    (5)    ΔL_i ≈ 2 |θ_i| / (ηT) + 2 H_ii

The larger a hidden weight, the more a flip of its sign costs: |W^h| measures importance, and the metaplastic rule,
which makes large hidden weights harder to flip, protects important weights.

Sources: Laborieux et al. 2021 (arXiv 2101.07592), Fig. 5a,b; Bach, Lacoste-Julien, Obozinski 2012 (arXiv 1203.4523).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class QuadraticTask:
    """L(W) = ½ (W − W*)ᵀ H (W − W*) over n real or binary weights.

    Raises ValueError where H and W* do not fit each other, or H is not symmetric positive definite.

    >>> task = QuadraticTask(H=np.diag([2.0, 1.0]), optimum=np.array([3.0, 0.5]))
    >>> task.loss(np.array([1.0, 1.0])), task.gradient(np.array([1.0, 1.0])).tolist()
    (4.125, [-4.0, 0.5])
    """

    H: Array
    """Curvature, symmetric positive definite, shape (n, n)."""
    optimum: Array
    """W*, the optimum over real weights, shape (n,)."""

    def __post_init__(self) -> None:
        n = self.optimum.size
        if self.optimum.shape != (n,) or self.H.shape != (n, n):
            raise ValueError(f"H, W*: expected shapes (n, n) and (n,), got {self.H.shape} and {self.optimum.shape}")
        if not np.array_equal(self.H, self.H.T) or np.linalg.eigvalsh(self.H)[0] <= 0:
            raise ValueError("H: expected a symmetric matrix with eigenvalues > 0, got another one")

    def loss(self, weights: Array) -> float:
        """Return L at `weights`, shape (n,)."""
        away = weights - self.optimum
        return float(away @ self.H @ away) / 2

    def gradient(self, weights: Array) -> Array:
        """Return ∇L = H (W − W*) at `weights`, shape (n,)."""
        return self.H @ (weights - self.optimum)


def random_rotation(n: int, rng: np.random.Generator) -> Array:
    """Draw an orthogonal (n, n) matrix uniformly (Haar measure; reflections included).

    The Q of a normal matrix's QR decomposition is uniform only once R's diagonal is made positive, since LAPACK chooses
    its signs by the matrix (Mezzadri 2007, arXiv math-ph/0609050).
    """
    Q, R = np.linalg.qr(rng.standard_normal((n, n)))
    return Q * np.sign(np.diag(R))


def random_task(n: int, rng: np.random.Generator) -> QuadraticTask:
    """Draw the paper's task: uniformly rotated axes, eigenvalues 20 + 19·(U − ½), W* uniform in ±4.

    >>> task = random_task(50, np.random.default_rng(0))
    >>> eigenvalues = np.linalg.eigvalsh(task.H)
    >>> bool(eigenvalues.min() >= 10.5 and eigenvalues.max() <= 29.5)
    True
    """
    rotation = random_rotation(n, rng)
    eigenvalues = 20 + 19 * (rng.random(n) - 0.5)
    H = rotation * eigenvalues @ rotation.T
    return QuadraticTask(H=(H + H.T) / 2, optimum=rng.uniform(-4, 4, n))  # symmetric despite rounding


def sign(x: Array) -> Array:
    """Sign of each element as ±1.0, +1 at 0 as in the binary layers; of any shape.

    >>> sign(np.array([-0.3, 0.0, 2.0]))
    array([-1.,  1.,  1.])
    """
    return np.where(x >= 0, 1.0, -1.0)


def train_through_signs(task: QuadraticTask, start: Array, lr: float, steps: int) -> Array:
    """Hidden weights at each step of θ ← θ − η H (sign θ − W*), from θ_0 = `start` of shape (n,): shape (steps + 1, n).

    >>> train_through_signs(QuadraticTask(np.eye(1), np.array([3.0])), np.zeros(1), lr=0.5, steps=3).ravel()
    array([0., 1., 2., 3.])
    """
    hidden = np.empty((steps + 1, start.size))
    hidden[0] = start
    for t in range(steps):
        hidden[t + 1] = hidden[t] - lr * task.gradient(sign(hidden[t]))
    return hidden


def switch_cost(task: QuadraticTask, signs: Array) -> Array:
    """Increase of the loss when each sign alone is flipped: ΔL_i = −2 s_i ∇L(s)_i + 2 H_ii, for s of ±1, (n,) to (n,).

    Exact: L(s − 2 s_i e_i) − L(s) is the expansion of a quadratic.

    >>> switch_cost(QuadraticTask(np.diag([2.0, 1.0]), np.array([3.0, 0.5])), np.array([1.0, 1.0])).tolist()
    [12.0, 1.0]
    """
    cost: Array = -2 * signs * task.gradient(signs) + 2 * np.diag(task.H)
    return cost


def cube_optimum(task: QuadraticTask) -> Array:
    """Minimizer s̄ of L over the cube [−1, 1]ⁿ, equation (3): shape (n,), coordinates at a face exactly ±1.

    With the Cholesky factor H = C Cᵀ the loss is ½ ‖Cᵀ s − Cᵀ W*‖², a least-squares problem between bounds, which the
    active-set method of Stark and Parker (1995, scipy's `bvls`) solves to machine precision.

    >>> cube_optimum(QuadraticTask(np.diag([2.0, 1.0]), np.array([3.0, 0.5]))).tolist()
    [1.0, 0.5]
    """
    root = np.linalg.cholesky(task.H).T
    solution = lsq_linear(root, root @ task.optimum, bounds=(-1, 1), method="bvls", tol=1e-12)
    face: Array = solution.active_mask  # 0 inside, else ±1, which x may miss by rounding
    return np.where(face == 0, solution.x, face)


def binary_optimum(task: QuadraticTask, start: Array) -> Array:
    """A corner that no single flip improves, found greedily from the signs of `start`: shape (n,).

    Finding the best corner is NP-hard; started at the signs of the cube's optimum, this one is close to it.

    >>> binary_optimum(QuadraticTask(np.diag([2.0, 1.0]), np.array([3.0, 0.5])), np.array([-1.0, -1.0])).tolist()
    [1.0, 1.0]
    """
    signs = sign(start)
    rounding = 1e-12 * np.trace(task.H)  # avoids cycling between two equally good corners
    while (cost := switch_cost(task, signs)).min() < -rounding:
        signs[cost.argmin()] *= -1
    return signs


def velocity_at(task: QuadraticTask, weights: Array, lr: float) -> Array:
    """Drift −η H (W − W*) of hidden weights per step while the binary ones average to `weights`: equation (4), (n,).

    At the cube's optimum this is the velocity of divergence, 0 for the weights that converge.

    >>> task = QuadraticTask(np.diag([2.0, 1.0]), np.array([3.0, 0.5]))
    >>> velocity_at(task, cube_optimum(task), lr=0.1).round(3)
    array([ 0.4, -0. ])
    """
    return -lr * task.gradient(weights)
