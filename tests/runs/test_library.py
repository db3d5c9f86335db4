"""`from experiments import compose, train`: the command line's runs from a notebook or script."""

import json
import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from pathlib import Path
from typing import Any

import hydra
import matplotlib as mpl
import numpy as np
import pytest
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from omegaconf import OmegaConf
from omegaconf.errors import ReadonlyConfigError

from experiments import UserError, compose, load, train
from tests.helpers import CONF, SMALL, Commands, assert_equal_weights, metrics, run_folders, summary, weights
from tests.interrupted import CHOICES, assert_same_end


def python(folder: Path, code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    return subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(code)], cwd=folder, capture_output=True, text=True, timeout=240
    )


def files(folder: Path) -> list[str]:
    """Return the names of a run's files."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# ------------------------------------------------------------------------------------------------ importing


def test_importing_the_package_is_light(tmp_path: Path) -> None:
    code = """
        import sys, experiments
        loaded = {name.partition('.')[0] for name in sys.modules}
        assert not loaded & {'torch', 'hydra', 'omegaconf', 'numpy', 'pandas', 'pydantic', 'rich'}, loaded
        assert {'compose', 'train', 'load', 'UserError'} <= set(dir(experiments))
        assert not hasattr(experiments, 'nothing')
        """
    done = python(tmp_path, code)
    assert done.returncode == 0, done.stderr


ORDERS = (
    "from experiments import train",
    "import experiments; train = experiments.train",
    "import experiments.train; from experiments import train",
    "import experiments.train; train = experiments.train",
    "import experiments.train as train",
    "from experiments import train; import experiments.train; from experiments import train",
    "from experiments.train import main; from experiments import train",
    "import importlib; importlib.import_module('experiments.train'); from experiments import train",
    "import importlib, experiments.train, sys; importlib.reload(sys.modules['experiments.train']);"
    "from experiments import train",
    "import importlib, experiments; importlib.reload(experiments); from experiments import train",
    "from experiments import *; from experiments import train",
    "import runpy; runpy.run_module('experiments.train', run_name='other'); from experiments import train",
)


@pytest.mark.slow
def test_train_is_the_function_in_any_order_of_imports_and_the_verb_stays_a_module(tmp_path: Path) -> None:
    code = f"""
        import sys, experiments.runs.library  # what the others need is imported once
        for order in {ORDERS!r}:
            for name in ('experiments', 'experiments.train', 'experiments.runs.library'):
                sys.modules.pop(name, None)
            names = {{}}
            exec(order, names)
            from experiments.runs.library import train
            assert names['train'] is train, order
            from experiments.train import main
            assert main.__module__ == 'experiments.train', order
        """
    done = python(tmp_path, code)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("commands")
def test_everything_can_be_sent_to_another_process() -> None:
    config = compose(*SMALL)
    function, same = pickle.loads(pickle.dumps((train, config)))
    assert function is train
    assert same == config
    run = function(same)
    assert pickle.loads(pickle.dumps(run)).metrics.equals(run.metrics)


# ------------------------------------------------------------------------------------------------ composing

LINES = (
    (),
    ("optimizer=momentum", "optimizer.lr=5e-2", "init=xavier", "name=two"),
    ("model=cnn", "model.batch_norm=true", "scheduler=one_cycle", "data.augment=[crop_flip,cutout]"),
    ("seed=7", "optimizer.lr_scale={head:0.1}", "+data.kind=x", "~data.kind", "objective='val/loss'"),
    ("penalty=l2", "training.batch_size=${seed}", "seed=32", "optimizer.weight_decay=${penalty.strength}"),
)


@pytest.mark.slow
@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_a_run_equals_that_of_the_command_line(commands: Commands, words: tuple[str, ...]) -> None:
    words = (*SMALL, "training.epochs=1", *words)
    if "+data.kind=x" in words:
        words = tuple(word for word in words if "data.kind" not in word)
    typed = commands.trained(*words)
    config = compose(*words)
    made = train(config)
    assert made.folder.parent == typed.parent
    assert made.folder != typed
    for name in ("config.yaml", "overrides.yaml"):
        theirs, ours = (yaml.safe_load((folder / ".hydra" / name).read_text()) for folder in (typed, made.folder))
        if name == "config.yaml":  # Hydra leaves interpolations as they are
            theirs = OmegaConf.to_container(OmegaConf.create(theirs), resolve=True)
            found = {key: ours[key] for key in ("objective", "task", "loss")}  # what auto stands for
            assert ours == {**dict(config), **found}
        assert ours == theirs
    assert_same_end(made.folder, typed)
    files = [
        sorted(str(p.relative_to(f)) for p in f.rglob("*") if "tfevents" not in p.name) for f in (typed, made.folder)
    ]
    assert files[0] == files[1]


@pytest.mark.slow
def test_hydras_own_part_is_that_of_the_command_line(commands: Commands) -> None:
    parts = []
    for folder in (commands.trained(*SMALL), train(compose(*SMALL)).folder):
        part = yaml.safe_load((folder / ".hydra" / "hydra.yaml").read_text())["hydra"]
        assert Path(part["runtime"].pop("output_dir")) == folder
        assert Path(part["run"].pop("dir")).name == folder.name
        part["overrides"]["hydra"] = [line for line in part["overrides"]["hydra"] if line != "hydra.mode=RUN"]
        parts.append({key: value for key, value in part.items() if key not in ("help", "hydra_help")})
    assert parts[0] == parts[1]


@pytest.mark.slow
def test_own_choices_and_own_code(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    (commands.folder / "own" / "model").mkdir(parents=True)
    (commands.folder / "own" / "model" / "line.yaml").write_text("_target_: own_lines.Line\nscale: 2.0\n")
    (commands.folder / "own_lines.py").write_text(OWN_MODEL)
    monkeypatch.syspath_prepend(commands.folder)
    words = (*SMALL[:2], *SMALL[3:], "model=line", "model.scale=3")
    with pytest.raises(UserError, match="unknown model 'line'; choose from "):
        compose(*words)
    with pytest.raises(UserError, match="absent is not a folder"):
        compose(*words, config_dir="absent")
    typed = commands.trained("--config-dir", "own", *words)
    for place in ("own", commands.folder / "own"):
        run = train(compose(*words, config_dir=place))
        assert_same_end(run.folder, typed)
    assert type(run.model).__module__ == "own_lines"
    with pytest.raises(UserError, match="names code from outside this package"):
        load(run.folder)


def test_a_configuration_is_read_and_not_changed() -> None:
    config = compose("optimizer=sgd", "training.epochs=3")
    assert config.overrides == ["optimizer=sgd", "training.epochs=3"]
    assert config.choices["optimizer"] == "sgd"
    assert "hydra" not in config
    assert yaml.safe_load(repr(config)) == json.loads(json.dumps(config.plain()))
    with pytest.raises(ReadonlyConfigError):
        config["training"]["epochs"] = 4


OWN_MODEL = """
import math, torch
class Line(torch.nn.Module):
    def __init__(self, input_shape, classes, scale=1.0):
        super().__init__()
        self.scale, self.head = scale, torch.nn.Linear(math.prod(input_shape), classes)
    def forward(self, x):
        return self.head(x.flatten(1)) * self.scale
"""

WRONG: tuple[tuple[str, ...], ...] = (
    ("optimizer=adm",),
    ("optimzer=adam",),
    ("optimizer=sgd", "optimizer.betas=[0,0]"),
    ("a b",),
    ("training.epochs",),
    ("training.epochs=x",),
    ("data=csv",),
    ("init.gain=${nothing}",),
    ("resume=absent",),
    ("hydra.run.dir=/dev/null/x",),
)


@pytest.mark.slow
@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_a_mistake_is_the_sentence_of_the_command_line(
    commands: Commands, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    typed = commands.train(*words)
    assert typed.code == 2
    with pytest.raises(UserError) as mistake:
        train(compose(*words))
    assert f"Error: {mistake.value}\n" == typed.err
    assert mistake.value.__cause__ is None
    shown = capsys.readouterr()
    assert shown.err == ""


@pytest.mark.parametrize("word", ["-m", "--config-dir=own", 3, {"optimizer": "adam"}])
def test_arguments_that_are_not_overrides_are_refused(word: Any) -> None:
    with pytest.raises(UserError, match="is not an override"):
        compose(word)


def test_train_needs_a_configuration() -> None:
    with pytest.raises(UserError, match=r"needs a configuration; give it the result of compose\(\.\.\.\)"):
        train("optimizer=adam")  # type: ignore[arg-type]


def test_a_failed_run_has_the_status_failed_in_its_folder(commands: Commands) -> None:
    with pytest.raises(UserError, match=r"training\.epochs='x' should be a valid integer"):
        train(compose("training.epochs=x"))
    (folder,) = run_folders(commands.folder)
    assert summary(folder)["status"] == "failed"


def test_the_full_error_is_shown_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(hydra.errors.MissingConfigException):
        compose("optimizer=adm")


# ------------------------------------------------------------------------------------------------ what is returned


@pytest.mark.slow
def test_the_returned_object_has_the_content_of_the_folder(commands: Commands) -> None:
    run = train(compose(*SMALL, "training.epochs=3"))
    assert run.folder.parent == commands.folder / "outputs" / "train"
    assert (run.status, run.summary["epochs"]) == ("finished", 3)
    assert json.loads(json.dumps(run.summary)) == summary(run.folder)
    assert run.verdicts == summary(run.folder)["verdicts"] != []
    rows = metrics(run.folder, seconds=True)
    assert list(run.metrics.columns) == list(rows[0])
    assert [{k: float(v) for k, v in row.items()} for row in rows] == run.metrics.to_dict("records")
    assert run.metrics["epoch"].tolist() == [1, 2, 3]
    assert run.metrics is run.metrics
    lines = (run.folder / "layers.csv").read_text().splitlines()
    assert list(run.layers.columns) == lines[0].split(",")
    assert len(run.layers) == len(lines) - 1 > 0
    assert f"{run.layers.iloc[-1]['value']:.6g}" == lines[-1].rpartition(",")[2]


@pytest.mark.slow
@pytest.mark.usefixtures("commands")
def test_the_model_is_that_of_the_best_epoch() -> None:
    run = train(compose(*CHOICES, "training.epochs=2", "seed=2", "observers.pictures.enabled=false"))
    assert run.summary["best_epoch"] == 1, "choose another seed: the last epoch would show nothing"
    assert not run.model.training
    assert_equal_weights(dict(run.model.state_dict()), weights(run.folder, "best"))
    val = run.restored.data.splits["val"]
    right = sum(int((scores.argmax(1) == y).sum()) for scores, y in run.restored.batches(val))
    assert right / len(val) == run.summary["metrics"]["val/accuracy"]
    assert run.model is run.model
    assert_equal_weights(dict(load(run.folder).model.state_dict()), dict(run.model.state_dict()))


@pytest.mark.usefixtures("commands")
def test_without_metrics_the_table_names_the_missing_setting() -> None:
    run = train(compose(*SMALL, "observers.metrics.enabled=false", "observers.layers.enabled=false"))
    assert run.layers.empty
    with pytest.raises(UserError, match=r"observers\.metrics\.enabled=true"):
        _ = run.metrics


@pytest.mark.usefixtures("commands")
def test_a_run_that_diverges_is_returned() -> None:
    run = train(compose(*SMALL, "optimizer=sgd", "optimizer.lr=1e30"))
    assert run.status == "diverged"
    assert run.verdicts[0]["name"] == "learning rate too high"


@pytest.mark.slow
def test_other_verbs_work_on_the_folder(commands: Commands) -> None:
    folder = train(compose(*SMALL)).folder
    assert commands.type("evaluate", f"run={folder}").code == 0
    assert commands.type("compare", str(folder)).code == 0
    assert commands.train(f"resume={folder}", "training.epochs=3").code == 0
    assert summary(folder)["epochs"] == 3


# ------------------------------------------------------------------------------------------------ going on

INTERRUPTED = """
import contextlib, io, os, signal
from pathlib import Path
from experiments import compose, train
from experiments.training.single import Single
real, count, asked = Single.step, 0, []
def step(self, index, rates):
    global count
    count += 1
    if count == 12:
        for number in asked:
            os.kill(os.getpid(), number)
    return real(self, index, rates)
Single.step = step
def listening(number, frame):
    raise KeyboardInterrupt("mine")
for name in ("SIGINT", "SIGTERM", "twice"):
    number = getattr(signal, name, signal.SIGINT)
    signal.signal(number, listening)
    count, asked = 0, [number, number] if name == "twice" else [number]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            train(compose(*{words}, f"name={{name}}"))
            raise AssertionError("nobody was told")
        except KeyboardInterrupt as error:
            assert str(error) == "mine"
    assert signal.getsignal(number) is listening
    (folder,) = Path("outputs", name).iterdir()
    said = [line.removeprefix("here ").strip() for line in out.getvalue().splitlines() if line.startswith("here ")]
    assert (folder / "summary.json").exists() == bool(said) == (name != "twice")
    print(folder.resolve(), (said or [f"train(compose('resume={{folder}}'))"])[0], sep="|")
"""


@pytest.mark.slow
def test_an_interrupted_cell_leaves_a_run_that_resumes_to_the_same_bits(commands: Commands) -> None:
    words = (*CHOICES, "observers.pictures.enabled=false")
    done = python(commands.folder, INTERRUPTED.format(words=words))
    assert done.returncode == 0, done.stderr
    left = [line.split("|") for line in done.stdout.splitlines()]
    assert [Path(folder).parent.name for folder, _ in left] == ["SIGINT", "SIGTERM", "twice"]
    for place, typed in left:
        folder = Path(place)
        if folder.parent.name != "twice":
            assert (summary(folder)["status"], summary(folder)["steps"]) == ("interrupted", 12)
        run = eval(typed, {"train": train, "compose": compose})
        assert (run.folder, run.status) == (folder, "finished")
        assert_same_end(folder, commands.trained(*words))


@pytest.mark.slow
def test_a_run_is_resumed_for_more_epochs_from_another_folder(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(compose(*CHOICES, "training.epochs=2"))
    (commands.folder / "elsewhere").mkdir()
    monkeypatch.chdir(commands.folder / "elsewhere")
    longer = train(compose(f"resume=../{first.folder.relative_to(commands.folder)}", "training.epochs=4"))
    assert longer.folder.samefile(first.folder)
    assert longer.metrics["epoch"].tolist() == [1, 2, 3, 4]
    assert not list(Path().iterdir())
    with pytest.raises(UserError, match=r"resume cannot change seed \(0 -> 1\)"):
        train(compose(f"resume={first.folder}", "seed=1"))
    assert summary(first.folder)["status"] == "finished"


# ------------------------------------------------------------------------------------------------ what is left alone


def surroundings() -> dict[str, Any]:
    """Return what belongs to the whole process."""
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),  # type: ignore[index]
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "gradients": torch.is_grad_enabled(),
        "precision": (torch.get_default_dtype(), torch.get_float32_matmul_precision()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warnings": list(warnings.filters),
        "cwd": Path.cwd(),
        "argv": list(sys.argv),
        "path": list(sys.path),
        "environment": dict(os.environ),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "hooks": (sys.excepthook, threading.excepthook, sys.stdout, sys.stderr),
        "log": (logging.root.level, list(logging.root.handlers), logging.getLogger("mine").disabled),
        "own log": [(log.level, list(log.handlers), log.propagate) for log in [logging.getLogger("experiments")]],
        "hydra": (GlobalHydra.instance().hydra, HydraConfig.instance().cfg, set(Singleton._instances)),
        "matplotlib": dict(mpl.rcParams),
        "resolver": OmegaConf.to_container(OmegaConf.create({"now": "${now:%Y}"}), resolve=True),
    }


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("training.deterministic=true", "training.threads=2"), ("optimizer=adm",)])
@pytest.mark.usefixtures("commands")
def test_the_process_is_unchanged_afterwards(words: tuple[str, ...]) -> None:
    logging.getLogger("mine")
    small = ("training.epochs=1", "data.limit=64", "model.hidden=[8]")
    train(compose(*small))  # what is imported first is not of interest
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        OmegaConf.register_new_resolver("now", lambda _: "mine", replace=True)
        before = surroundings()
        if "optimizer=adm" in words:
            with pytest.raises(UserError):
                compose(*words)
        else:
            train(compose(*small, *words))
        assert hydra.compose("train").seed == 0
        after = surroundings()
    OmegaConf.clear_resolver("now")
    for name, value in before.items():
        assert after[name] == value, name


@pytest.mark.slow
def test_a_run_in_another_thread(commands: Commands) -> None:
    runs: list[Any] = []
    thread = threading.Thread(target=lambda: runs.append(train(compose(*SMALL))))
    thread.start()
    thread.join()
    assert_equal_weights(weights(runs[0].folder), weights(commands.trained(*SMALL)))


@pytest.mark.slow
def test_composing_works_after_hydra_was_initialized_elsewhere_and_again(tmp_path: Path) -> None:
    code = """
        import hydra, logging
        logging.disable()
        hydra.initialize(config_path=None, version_base=None)
        from experiments import compose, UserError
        for _ in range(3):
            assert compose("optimizer=sgd")["optimizer"]["_target_"] == "torch.optim.SGD"
            try:
                compose("optimzer=sgd")
            except UserError as error:
                assert "did you mean 'optimizer=sgd'" in str(error)
        assert hydra.compose(overrides=["+a=1"]).a == 1
        """
    done = python(tmp_path, code, "-W", "error")
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


CELLS = """
from experiments import compose, load, train
run = train(compose("training.epochs=1", "data.limit=96", "observers.pictures.enabled=false"))
run.metrics
compose("optimizer=adm")
train(compose("training.epochs=100000", "observers.pictures.enabled=false"))
print("alive", run.status, len(load(run.folder).classes))
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_real_notebook_shows_plain_lines_and_survives_an_interrupt(tmp_path: Path) -> None:
    pytest.importorskip("ipykernel", reason="Jupyter's kernel is not installed")
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    shown: list[tuple[str, dict[str, Any]]] = []

    def note(message: dict[str, Any]) -> None:
        if message["msg_type"] not in ("status", "execute_input"):
            shown.append((message["msg_type"], message["content"]))
        if "epoch      2/100000" in message["content"].get("text", ""):
            manager.interrupt_kernel()

    try:
        for cell in CELLS.strip().splitlines():
            client.execute_interactive(cell, output_hook=note, timeout=120)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert [kind for kind, _ in shown if kind != "stream"] == ["execute_result", "error", "error"]
    printed = "".join(content["text"] for kind, content in shown if kind == "stream")
    assert "\x1b" not in printed
    assert "epoch 1/1  loss" in printed
    assert printed.endswith("alive finished 10\n")
    mistake, interrupt = (content for kind, content in shown if kind == "error")
    assert mistake["traceback"][0].startswith("Error: unknown optimizer 'adm'; choose from ")
    assert len(mistake["traceback"]) == 1
    assert interrupt["ename"] == "KeyboardInterrupt"
    finished, interrupted = sorted(run_folders(tmp_path), key=lambda folder: summary(folder)["steps"])
    assert summary(interrupted)["status"] == "interrupted"
    assert f"here     train(compose('resume={interrupted.relative_to(tmp_path)}'))" in printed
    logged = (finished / "train.log").read_text()
    assert "\x1b" not in logged
    assert re.search(r"^head +Linear +10 +1,010$", logged, re.MULTILINE)
    assert re.search(r"^test +\d", logged, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["seed=0,1"], "seed=0,1 has several values, but compose(...) is one run: compose one for each value, or"),
        (["seed=range(3)"], "seed=range(3) has several values, but compose(...) is one run: compose one for each"),
        (["optimizer=sgd,adam"], "optimizer=sgd,adam has several values, but compose(...) is one run: compose one"),
        (["model=own", "model.zzz=1"], "unknown key 'model.zzz'; choose from _target_, width"),
    ],
)
def test_a_refusal_is_about_the_notebook_and_the_own_choice(tmp_path: Path, words: list[str], said: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "own.yaml").write_text("_target_: mine.Net\nwidth: 3\n")
    with pytest.raises(UserError) as refused:
        compose(*words, config_dir=tmp_path)
    assert str(refused.value).startswith(said)
