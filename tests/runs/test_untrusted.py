"""The configuration in a run directory is data: what it may name, what it may hold, and what reading it costs."""

import importlib
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from omegaconf import OmegaConf

from metaplast.errors import UserError
from metaplast.runs.names import OLD_TARGETS
from metaplast.runs.untrusted import SHIPPED, load_saved_config, names_trusted

CONF = Path(__file__).parents[2] / "conf"
PLACES = ("scenario", "model", "optimizer", "plugin")

FOREIGN = """
    os.system os.getcwd os.remove os.unlink os.chmod os.execv os.fork os.kill os.popen os.putenv posix.system
    nt.system subprocess.run subprocess.Popen subprocess.check_output subprocess.getoutput shutil.rmtree shutil.move
    shutil.copy builtins.open builtins.eval builtins.exec builtins.compile builtins.__import__ builtins.print
    builtins.input io.open pathlib.Path pathlib.Path.unlink pathlib.Path.write_text pathlib.Path.touch
    pathlib.Path.mkdir tempfile.mkdtemp importlib.import_module runpy.run_path runpy.run_module code.interact
    pty.spawn pdb.run timeit.timeit cProfile.run pickle.loads pickle.load marshal.loads shelve.open ctypes.CDLL
    ctypes.cdll.LoadLibrary webbrowser.open urllib.request.urlopen urllib.request.urlretrieve
    socket.create_connection smtplib.SMTP sys.exit sys.setrecursionlimit torch.utils.collect_env.run torch.load
    torch.save torch.hub.load torch.jit.load torch.classes.load_library torch.ops.load_library
    torch.utils.cpp_extension.load_inline torch.package.PackageImporter torch.optim.SGD torch.nn.ReLU numpy.load
    numpy.fromfile numpy.memmap numpy.save yaml.unsafe_load yaml.load sympy.sympify cloudpickle.loads joblib.load
    pandas.read_pickle pandas.eval wandb.init hydra.utils.instantiate hydra.utils.call hydra.utils.get_object
    hydra.main omegaconf.OmegaConf.load omegaconf.OmegaConf.register_new_resolver functools.partial functools.reduce
    operator.methodcaller operator.attrgetter metaplast.data.sources._run metaplast.io.write_text
    metaplast.nn.networks metaplast.sweep.process.in_warm_fork metaplast.training.checkpoint.write_checkpoint
    metaplast.cli.main.command metaplast.scenarios metaplast.scenarios.permuted_mnist.__globals__
    metaplast.scenarios.Scenario.from_tensors metaplast.nn.models.torch.load metaplast.nn.models.bnn.__call__
    metaplast.optim.MetaplasticAdam.load_state_dict metaplast.strategies.plugins.replay.Replay.x
    metaplast.strategies.plugins.si.os.system avalanche.logging.CSVLogger
""".split()  # noqa: SIM905


def at(place: str, target: Any) -> dict[str, Any]:
    """A configuration with a `_target_` where a scenario, model, optimizer or plugin stands."""
    node = {"_target_": target}
    return {
        "scenario": {"scenario": node},
        "model": {"model": node},
        "optimizer": {"strategy": {"optimizer": node}},
        "plugin": {"strategy": {"plugins": [node]}},
    }[place]


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Any]:
    """Read a configuration, given as a text or as values, from a file."""

    def read(content: Any, *trust: str) -> Any:
        text = content if isinstance(content, str) else yaml.safe_dump(content)
        (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
        return OmegaConf.to_container(load_saved_config(tmp_path / "config.yaml", trust), resolve=False)

    return read


def refused(load: Callable[..., Any], content: Any, *trust: str) -> str:
    with pytest.raises(UserError) as error:
        load(content, *trust)
    said = str(error.value)
    assert said.isprintable(), said
    assert len(said) < 600
    return said


@pytest.mark.parametrize("target", FOREIGN)
def test_no_foreign_name_is_accepted_anywhere(target: str, load: Callable[..., Any]) -> None:
    for place in PLACES:
        assert f"_target_={target}: expected a {place} of metaplast" in refused(load, at(place, target))
    for nested in (
        {"model": {"_target_": "metaplast.nn.models.bnn", "hidden": {"_target_": target}}},
        {"scenario": {"_target_": "metaplast.scenarios.mnist_usps", "order": [{"_target_": target}]}},
        {"strategy": {"_target_": target}},
        {"strategy": {"plugins": {"0": {"deeper": {"_target_": target}}}}},
        {"logger": {"_target_": target}},
        {"data_dir": {"_target_": target}},
        {"_target_": target},
    ):
        assert f"_target_={target}: expected a value" in refused(load, nested)


def test_a_name_that_ships_is_accepted_in_its_own_place_alone(load: Callable[..., Any]) -> None:
    for kind, names in SHIPPED.items():
        for name in names:
            for place in PLACES:
                if place == kind:
                    assert load(at(place, name)) == at(place, name)
                else:
                    refused(load, at(place, name))
            refused(load, at(kind, name + "x"))
            refused(load, at(kind, name + ".__init__"))
            refused(load, at(kind, name.upper()))
            refused(load, at(kind, name + "\n"))


def test_every_name_that_ships_and_every_new_place_of_an_old_one_is_there() -> None:
    for name in {*OLD_TARGETS.values()}.union(*SHIPPED.values()):
        module, _, attribute = name.rpartition(".")
        assert callable(getattr(importlib.import_module(module), attribute)), name


def test_every_target_of_our_configuration_may_be_in_a_run_directory() -> None:
    known = frozenset[str]().union(*SHIPPED.values())
    groups = [CONF / group for group in ("scenario", "model", "strategy", "experiment", "ablation")]
    found = {
        word
        for folder in groups
        for path in folder.rglob("*.yaml")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "_target_:" in line
        for word in [line.partition("_target_:")[2].split()[0]]
    }
    assert len(found) > 20
    assert found <= known


@pytest.mark.parametrize(("old", "new"), OLD_TARGETS.items())
def test_names_of_older_runs_are_translated(old: str, new: str, load: Callable[..., Any]) -> None:
    [place] = [kind for kind, names in SHIPPED.items() if new in names]
    assert load(at(place, old)) == at(place, new)


def test_a_name_of_ones_own_is_trusted_by_name_alone(load: Callable[..., Any]) -> None:
    mine = at("scenario", "my_lab.negatives")
    assert "add trust=my_lab.negatives" in refused(load, mine)
    assert load(mine, "my_lab.negatives") == mine
    for other in ("my_lab", "my_lab.", "my_lab.negative", "my_lab.negatives.x", "MY_LAB.negatives"):
        refused(load, mine, other)
    assert "add trust=my_lab.part" in refused(
        load, {"scenario": {"_target_": "my_lab.negatives", "part": {"_target_": "my_lab.part"}}}, "my_lab.negatives"
    )


def test_what_the_folder_says_of_trust_counts_for_nothing(load: Callable[..., Any]) -> None:
    refused(load, {"trust": ["os.system"], **at("plugin", "os.system")})


@pytest.mark.parametrize(
    "target", [None, 3, True, ["os.system"], {"_target_": "os.system"}, "", "os", "antigravity", "a..b", "a.b c"]
)
def test_a_target_is_a_name(target: Any, load: Callable[..., Any]) -> None:
    assert "expected the name of a function or class" in refused(load, at("model", target))


@pytest.mark.parametrize("key", ["_args_", "_partial_", "_recursive_", "_convert_", "_mode_"])
def test_instructions_to_hydra_are_refused_but_in_what_is_trusted(key: str, load: Callable[..., Any]) -> None:
    section = {"_target_": "metaplast.nn.models.bnn", key: [1]}
    assert f"model.{key}" in refused(load, {"model": section})
    mine = {"model": {"_target_": "my.net", key: [1]}}
    assert load(mine, "my.net") == mine


@pytest.mark.parametrize(
    "text",
    [
        "a: ${oc.env:HOME}", "a: ${oc.env:HOME,x}", "a: ${oc.decode:'{_target_: os.system}'}", "a: [x, '${b}']",
        "a: ${oc.create:${b}}", "'${a}': 1", "a: {b: {'x${c}': 1}}", "a: ${by:b,{},1}", r"a: \${b}", "a: x${hydra:job}",
        "hydra: {run: {dir: /tmp}}", "hydra: null", "a: !!python/object/apply:os.system [x]", "a: !!binary aGk=",
        "a: !x 1", "a: &x 1", "&x a: 1", "a: &x [1]\nb: *x", "a: {<<: *x}", "a: 1\n---\nb: 2", "a: 1\na: 2", "{", "[1",
        "- 1", "a", "3", "a: \0", "a: \x1b[2J\x07: x: y", "? [a, b]\n: c", "? {a: b}\n: c", "%YAML 9.9\n---\na: 1",
        "\t- a",
    ],
)  # fmt: skip
def test_what_is_no_plain_data_is_refused(text: str, load: Callable[..., Any]) -> None:
    refused(load, text)


def bomb(levels: int, width: int = 9) -> str:
    lines = [f"a0: &a0 [{','.join(['x'] * width)}]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        bomb(9), bomb(12), "a: &a [*a]", "a: " + "[" * 900 + "]" * 900, "a: " + "[" * 100_000, "a: " + "{x: " * 40_000,
        "a: [" + "0," * 100_000 + "]", "a: [" + "[]," * 60_000 + "]", "\n".join(f"k{i}: 1" for i in range(20_001)),
        "a: " + "9" * 200_000, "a: " + "1:" * 100_000 + "1", "a: " + "x" * 300_000, "- " * 120_000 + "1",
    ],
    ids=lambda text: f"{text[:12]}-{len(text)}",
)  # fmt: skip
def test_small_files_that_would_exhaust_the_machine_are_refused_at_once(text: str, load: Callable[..., Any]) -> None:
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    refused(load, text)
    assert time.monotonic() - begun < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_only_a_regular_file_of_the_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.yaml").write_text("a: 1", encoding="utf-8")
    run = tmp_path / "run"
    run.mkdir()
    os.mkfifo(run / "pipe")
    (run / "inside.yaml").write_text("a: 1", encoding="utf-8")
    for target in ("../elsewhere.yaml", "/dev/zero", "/dev/stdin", "pipe", "config.yaml", "absent", "."):
        (run / "config.yaml").symlink_to(target)
        with pytest.raises(UserError, match=r"^its config.yaml cannot be read: "):
            load_saved_config(run / "config.yaml")
        (run / "config.yaml").unlink()
    (run / "config.yaml").symlink_to("inside.yaml")
    assert load_saved_config(run / "config.yaml") == {"a": 1}


def test_the_names_trusted_are_a_name_or_a_list() -> None:
    assert names_trusted(OmegaConf.create({"trust": ["a.b", "c.d"]}).trust) == ["a.b", "c.d"]
    assert (names_trusted(None), names_trusted("a.b")) == ([], ["a.b"])
