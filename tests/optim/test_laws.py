"""Laws of every optimizer of ours, over one register of cases: a new optimizer is a line in it, and has all of them."""

import copy
import io
import math
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from metaplast.nn import bnn
from metaplast.optim import MetaplasticAdam, MetaplasticSGD, parameter_groups
from metaplast.optim._base import effective_m


class Case(NamedTuple):
    """An optimizer with settings, and torch's with which it agrees for m = 0 and ε → 0."""

    make: Callable[..., torch.optim.Optimizer]
    settings: dict[str, Any]
    plain: Callable[..., torch.optim.Optimizer]
    plain_settings: dict[str, Any]


TINY = {"eps": 1e-30}  # before or after the bias correction makes no difference then

CASES = {
    "adam": Case(MetaplasticAdam, {"compiled": False, **TINY}, torch.optim.Adam, TINY),
    "adam, small parameters together": Case(MetaplasticAdam, TINY, torch.optim.Adam, TINY),
    "adam, compiled": Case(MetaplasticAdam, {"compiled": True, **TINY}, torch.optim.Adam, TINY),
    "adam, exponential": Case(
        MetaplasticAdam, {"consolidation": "exponential", "compiled": False, **TINY}, torch.optim.Adam, TINY
    ),
    "adam, other betas and decay": Case(
        MetaplasticAdam,
        {"betas": (0.5, 0.9), "weight_decay": 0.1, "compiled": False, **TINY},
        torch.optim.Adam,
        {"betas": (0.5, 0.9), "weight_decay": 0.1, **TINY},
    ),
    "sgd": Case(MetaplasticSGD, {}, torch.optim.SGD, {"momentum": 0.9}),
    "sgd, exponential": Case(MetaplasticSGD, {"consolidation": "exponential"}, torch.optim.SGD, {"momentum": 0.9}),
    "sgd, no momentum but decay": Case(
        MetaplasticSGD, {"momentum": 0.0, "weight_decay": 0.1}, torch.optim.SGD, {"weight_decay": 0.1}
    ),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)

CLASSES = {case.make: case for case in CASES.values()}
every_class = pytest.mark.parametrize("make", CLASSES, ids=lambda make: make.__name__)


def parameters() -> list[nn.Parameter]:
    """A matrix, a convolution and a vector."""
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 4), (2, 1, 2, 2), (5,))]


def take_steps(optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    """Steps number `first` to `last` - 1, with gradients that depend on the number alone."""
    for step in range(first, last):
        generator = torch.Generator().manual_seed(100 + step)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        optimizer.step()


def weights(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter.detach().clone() for group in optimizer.param_groups for parameter in group["params"]]


def same(a: torch.optim.Optimizer, b: torch.optim.Optimizer) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


@every_case
def test_without_m_it_is_torchs_optimizer(case: Case) -> None:
    ours = case.make(parameters(), lr=0.01, m=0.0, **case.settings)
    theirs = case.plain(parameters(), lr=0.01, **case.plain_settings)
    for optimizer in (ours, theirs):
        take_steps(optimizer, 0, 5)
    for actual, expected in zip(weights(ours), weights(theirs), strict=True):
        torch.testing.assert_close(actual, expected, atol=2e-6, rtol=0)  # a few roundings in float32


@every_case
def test_with_m_it_is_not(case: Case) -> None:
    plain, metaplastic = (case.make(parameters(), lr=0.01, m=m, **case.settings) for m in (0.0, 2.0))
    take_steps(plain, 0, 5)
    take_steps(metaplastic, 0, 5)
    differ = [not torch.allclose(a, b, atol=1e-5) for a, b in zip(weights(plain), weights(metaplastic), strict=True)]
    assert differ == [True, True, False]  # a vector is no weight


@every_case
@given(w=st.floats(0.01, 3), g=st.floats(0.01, 3), m=st.floats(0, 10))
def test_a_step_that_grows_a_weight_ignores_m(case: Case, w: float, g: float, m: float) -> None:
    settings = {**case.settings, "weight_decay": 0.0}  # decay pulls the other way
    moved = []
    for value in (m, 0.0):
        weight = nn.Parameter(torch.tensor([[w, -w]]))
        optimizer = case.make([weight], m=value, **settings)
        weight.grad = torch.tensor([[-g, g]])
        optimizer.step()
        moved.append(weight.detach())
    # A kernel and torch's own Adam round in another order than the literal step.
    literal = case.make is MetaplasticSGD or case.settings.get("compiled") is False
    torch.testing.assert_close(*moved, rtol=0 if literal else 1e-6, atol=0)
    assert (moved[0].abs() >= w * (1 - 1e-6)).all()


@every_case
@given(w=st.floats(0.01, 3), g=st.floats(0.01, 3), m=st.floats(0, 10), larger=st.floats(0, 10))
def test_a_larger_m_never_moves_a_shrinking_weight_further(
    case: Case, w: float, g: float, m: float, larger: float
) -> None:
    moved = []
    for value in sorted((m, larger)):
        weight = nn.Parameter(torch.tensor([[w, -w]]))
        optimizer = case.make([weight], m=value, lr=1e-3, **case.settings)
        weight.grad = torch.tensor([[g, -g]])
        optimizer.step()
        moved.append((torch.tensor([[w, -w]]) - weight.detach()).abs())
    assert (moved[1] <= moved[0] + 1e-6 * w).all()


@every_case
@pytest.mark.parametrize("m", [0.0, 1.3])
def test_decoupled_decay_shrinks_hidden_weights_and_no_others_before_each_step(case: Case, m: float) -> None:
    decaying = case.make(parameters(), m=m, decoupled_weight_decay=0.01, **case.settings)
    by_hand = case.make(parameters(), m=m, **case.settings)
    for step in range(4):
        for parameter in by_hand.param_groups[0]["params"][:2]:  # the third is a vector
            parameter.data.mul_(1 - 0.01)
        take_steps(decaying, step, step + 1)
        take_steps(by_hand, step, step + 1)
    assert same(decaying, by_hand)


@every_case
@pytest.mark.parametrize("scale", [0.25, 16.0])
def test_with_relative_m_of_1_a_step_in_other_units_is_the_same_step(case: Case, scale: float) -> None:
    """Weights, lr and gradients times a power of 2: Adam's and SGD's steps scale with lr, f_meta does not change."""
    moved = []
    for unit in (1.0, scale):
        parameter = nn.Parameter(parameters()[0].detach() * unit)
        lr = 0.05 * unit
        optimizer = case.make([parameter], m=1.3, lr=lr, relative_m=1.0, **{**case.settings, "weight_decay": 0.0})
        take_steps(optimizer, 0, 4)
        moved.append(parameter.detach() / unit)
    torch.testing.assert_close(*moved, rtol=1e-6, atol=1e-7)


@every_class
def test_relative_m_gives_the_same_bits_on_any_number_of_threads(make: Any) -> None:
    hidden = torch.randn(300, 700, generator=torch.Generator().manual_seed(0))
    threads, found = torch.get_num_threads(), set()
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            found.add(effective_m(hidden, make([hidden], m=1.3, relative_m=1.0).param_groups[0]))
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 1
    assert found.pop() == pytest.approx(1.3 / hidden.abs().mean().item(), rel=1e-5)


@every_case
def test_without_later_settings_the_bits_are_those_of_an_optimizer_that_never_heard_of_them(case: Case) -> None:
    optimizer, silent = (case.make(parameters(), m=1.3, **case.settings) for _ in range(2))
    state = silent.state_dict()
    for name in ("decoupled_weight_decay", "relative_m"):
        del state["param_groups"][0][name]  # as of an earlier release
    silent.load_state_dict(state)
    assert silent.param_groups[0]["decoupled_weight_decay"] == silent.param_groups[0]["relative_m"] == 0
    for each in (optimizer, silent):
        take_steps(each, 0, 4)
    assert same(optimizer, silent)


@every_class
def test_decay_in_the_gradient_leaves_a_settled_weight_and_decoupled_decay_loosens_it(make: Any) -> None:
    left = []
    for decay in ("weight_decay", "decoupled_weight_decay"):
        weight = nn.Parameter(torch.tensor([[4.0, -4.0]]))
        optimizer = make([weight], lr=0.005, m=4.0, **{decay: 1e-3})
        for _ in range(1000):
            weight.grad = torch.zeros(1, 2)
            optimizer.step()
        left.append(weight.detach().abs())
    torch.testing.assert_close(left[0], torch.full((1, 2), 4.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(left[1], torch.full((1, 2), 4 * 0.999**1000), atol=1e-3, rtol=0)


@every_case
def test_a_state_that_was_saved_and_loaded_steps_on_with_the_same_bits(case: Case) -> None:
    whole = case.make(parameters(), m=1.3, **case.settings)
    take_steps(whole, 0, 6)
    first = case.make(parameters(), m=1.3, **case.settings)
    take_steps(first, 0, 3)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = case.make([nn.Parameter(weight) for weight in weights(first)], m=0.0, **case.settings)
    second.load_state_dict(torch.load(file, weights_only=True))
    take_steps(second, 3, 6)
    assert same(second, whole)


def by_torch_save(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    file = io.BytesIO()
    torch.save(optimizer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)  # type: ignore[no-any-return]


def by_pickle(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    return pickle.loads(pickle.dumps(optimizer))  # type: ignore[no-any-return]


@every_case
@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("carry", [copy.deepcopy, by_pickle, by_torch_save], ids=["copy", "pickle", "save"])
def test_a_copy_steps_on_with_the_same_bits_and_leaves_the_original_alone(
    case: Case, steps: int, carry: Callable[[torch.optim.Optimizer], torch.optim.Optimizer]
) -> None:
    original = case.make(parameters(), m=1.3, **case.settings)
    take_steps(original, 0, steps)
    before = weights(original)
    copied = carry(original)
    take_steps(copied, steps, steps + 3)
    assert all(torch.equal(a, b) for a, b in zip(weights(original), before, strict=True))
    take_steps(original, steps, steps + 3)
    assert same(copied, original)
    assert repr(copied) == repr(original)
    copied.add_param_group({"params": [nn.Parameter(torch.zeros(2, 2))], "m": 3.0})
    assert copied.param_groups[-1]["consolidation"] == original.param_groups[0]["consolidation"]


@every_case
def test_a_network_and_its_optimizer_are_copied_together(case: Case) -> None:
    network = bnn((1, 2, 2), 3, hidden=[4])
    optimizer = case.make(parameter_groups(network, 1.3), **case.settings)
    network_copy, optimizer_copy = copy.deepcopy((network, optimizer))
    take_steps(optimizer_copy, 0, 2)
    stepped = {id(parameter) for group in optimizer_copy.param_groups for parameter in group["params"]}
    assert stepped == {id(parameter) for parameter in network_copy.parameters()}


@every_case
def test_a_reset_makes_the_next_step_the_first_one(case: Case) -> None:
    optimizer = case.make(parameters(), m=1.3, **case.settings)
    take_steps(optimizer, 0, 3)
    assert isinstance(optimizer, MetaplasticAdam | MetaplasticSGD)
    fresh = case.make([nn.Parameter(weight) for weight in weights(optimizer)], m=1.3, **case.settings)
    optimizer.reset_state()
    for each in (optimizer, fresh):
        take_steps(each, 3, 6)
    assert same(optimizer, fresh)


@every_case
def test_parameters_without_a_gradient_stay_and_the_loss_of_a_closure_comes_back(case: Case) -> None:
    moving, resting = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimizer = case.make([moving, resting], m=1.3, **case.settings)

    def closure() -> float:
        optimizer.zero_grad()
        loss = moving.square().sum()
        torch.autograd.backward(loss)
        return loss.item()

    assert optimizer.step(closure) == 4
    assert torch.equal(resting, torch.ones(2, 2))
    assert not torch.equal(moving, torch.ones(2, 2))


@every_case
def test_a_group_has_settings_of_its_own(case: Case) -> None:
    """Each of two groups moves as the only group of an optimizer with its settings does."""
    own = [{"m": 0.5, "lr": 0.01, "consolidation": "tanh"}, {"m": 3.0, "lr": 0.1, "consolidation": "exponential"}]
    groups = [{"params": [parameters()[0]], **settings} for settings in own]
    together = case.make(groups, **case.settings)
    take_steps(together, 0, 1)
    for group, settings in zip(together.param_groups, own, strict=True):
        alone = case.make([parameters()[0]], **{**case.settings, **settings})
        alone.param_groups[0]["params"][0].grad = group["params"][0].grad
        alone.step()
        torch.testing.assert_close(alone.param_groups[0]["params"][0], group["params"][0], atol=1e-6, rtol=0)


@every_case
def test_a_state_of_another_consolidation_is_refused(case: Case) -> None:
    optimizer = case.make(parameters(), m=1.3, **case.settings)
    other = {"tanh": "exponential", "exponential": "tanh"}[optimizer.param_groups[0]["consolidation"]]
    target = case.make(parameters(), m=1.3, **{**case.settings, "consolidation": other})
    before = copy.deepcopy(target.state_dict())
    with pytest.raises(ValueError, match=f"state_dict: expected consolidation='{other}' as of this optimizer, got"):
        target.load_state_dict(optimizer.state_dict())
    assert target.state_dict() == before


@every_case
def test_a_state_of_a_release_without_the_name_of_the_consolidation_is_taken(case: Case) -> None:
    optimizer, old = (case.make(parameters(), m=1.3, **case.settings) for _ in range(2))
    take_steps(old, 0, 3)
    state = old.state_dict()
    del state["param_groups"][0]["consolidation"]
    optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["consolidation"] == case.settings.get("consolidation", "tanh")


FOREIGN = [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop, *CLASSES]


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize(
    ("make", "foreign"),
    [(make, foreign) for make in CLASSES for foreign in FOREIGN if make is not foreign],
    ids=lambda make: make.__name__,
)
def test_a_state_of_another_optimizer_is_refused(make: Any, foreign: Any, steps: int) -> None:
    target, other = make(parameters()), foreign(parameters())
    take_steps(other, 0, steps)
    with pytest.raises(ValueError, match=f"state_dict: expected the state of a {make.__name__}, got one without"):
        target.load_state_dict(other.state_dict())


@every_class
def test_a_state_of_other_shapes_or_other_tensors_is_refused(make: Any) -> None:
    wide, narrow = make([nn.Parameter(torch.zeros(4, 4))]), make([nn.Parameter(torch.zeros(2, 8))])
    take_steps(wide, 0, 1)
    with pytest.raises(ValueError, match=r"state_dict: expected .*\(2, 8\).* for a parameter, got .*\(4, 4\)"):
        narrow.load_state_dict(wide.state_dict())
    state = wide.state_dict()
    state["state"][0] = {"step": 1}
    with pytest.raises(ValueError, match=r"state_dict: expected .*\(4, 4\).* for a parameter, got \['step'\]"):
        wide.load_state_dict(state)
    with pytest.raises(ValueError, match="different number of parameter groups"):
        make([{"params": [parameter]} for parameter in parameters()]).load_state_dict(state)


NUMBERS: list[Any] = [[1.0, 2.0], (1.0,), "1.3", None, {}, True, 1j, torch.tensor(1.0), math.nan, math.inf, -1.0]


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
@pytest.mark.parametrize("name", ["m", "lr", "weight_decay"])
@every_class
def test_what_is_no_number_in_range_is_refused_by_name(make: Any, name: str, value: object) -> None:
    builds: list[Callable[[], Any]] = [
        lambda: make(parameters(), **{name: value}),
        lambda: make([{"params": parameters(), name: value}]),
        lambda: make(parameters()).add_param_group({"params": [nn.Parameter(torch.ones(1))], name: value}),
    ]
    for build in builds:
        with pytest.raises(ValueError, match=rf"{name}=.*: expected a finite number >"):
            build()


@pytest.mark.parametrize("value", [*NUMBERS, 1.0], ids=repr)
@every_class
def test_a_decoupled_decay_that_is_no_share_is_refused(make: Any, value: object) -> None:
    with pytest.raises(ValueError, match=r"decoupled_weight_decay=.*: expected a number in \[0, 1\)"):
        make(parameters(), decoupled_weight_decay=value)


@pytest.mark.parametrize("value", ["linear", None, ["tanh"], 1], ids=repr)
@every_class
def test_an_unknown_consolidation_is_refused(make: Any, value: object) -> None:
    with pytest.raises(ValueError, match=r"consolidation=.*: expected one of tanh, exponential"):
        make(parameters(), consolidation=value)


@every_class
def test_a_group_that_was_refused_is_not_kept(make: Any) -> None:
    optimizer = make(parameters())
    for group in ({"m": -1.0}, {"lr": "fast"}):
        with pytest.raises(ValueError, match="expected a finite number"):
            optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], **group})
    with pytest.raises(ValueError, match=r"params: expected real floating-point tensors, got torch\.complex64"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2, dtype=torch.complex64))]})
    assert len(optimizer.param_groups) == 1


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@every_case
def test_a_sparse_gradient_is_refused(case: Case) -> None:
    table = nn.Embedding(5, 3, sparse=True)
    optimizer = case.make(table.parameters(), m=1.3, **case.settings)
    torch.autograd.backward(table(torch.tensor([1, 2])).sum())
    before = table.weight.detach().clone()
    with pytest.raises(ValueError, match=r"gradient\.layout=torch\.sparse_coo: expected torch\.strided"):
        optimizer.step()
    assert torch.equal(table.weight, before)


@every_class
def test_integers_and_numbers_of_numpy_are_numbers(make: Any) -> None:
    import numpy as np

    one, other = make(parameters(), lr=0.5, m=2.0), make(parameters(), lr=np.float32(0.5), m=np.int64(2))
    take_steps(one, 0, 2)
    take_steps(other, 0, 2)
    assert same(one, other)
    file = io.BytesIO()
    torch.save(other.state_dict(), file)
    file.seek(0)
    one.load_state_dict(torch.load(file, weights_only=True))


@every_case
def test_a_scheduler_moves_the_learning_rate(case: Case) -> None:
    optimizer = case.make(parameters(), lr=0.1, m=1.3, **case.settings)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    take_steps(optimizer, 0, 1)
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.05
