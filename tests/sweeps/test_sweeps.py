"""Sweeps as a user types them: planned, trained, killed, resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict

from experiments.cli.composing import register_resolvers
from experiments.common.errors import UserError
from experiments.folders.hydra import as_yaml, task_part
from experiments.folders.run import RunFolder
from experiments.folders.sweep import Sweep
from experiments.sweeps._composer import Composer, number_of
from experiments.sweeps._plan import described, plan
from experiments.sweeps.jobs import combinations
from tests.helpers import (
    CONF,
    SMALL,
    Commands,
    composed,
    metrics,
    run,
    run_folders,
    start,
    start_fresh,
    summary,
    table,
)
from tests.interrupted import KILL_AT


def results(sweep: Path) -> list[dict[str, str]]:
    """Return sweep.csv."""
    return table(sweep / "sweep.csv")


def statuses(sweep: Path) -> list[str]:
    """Return the status of each run in sweep.csv."""
    return [row["status"] for row in results(sweep)]


def only_sweep(folder: Path) -> Path:
    """Return the folder of the one sweep there is."""
    (path,) = folder.glob("outputs/*/*/sweep.yaml")
    return path.parent


# which jobs


def parsed(*overrides: str) -> list[list[str]]:
    """Return the jobs of a command line."""
    return combinations(OverridesParser.create().parse_overrides(list(overrides)))


def test_the_last_list_changes_fastest() -> None:
    assert parsed("a=1,2", "b='x y'", "c=range(2)") == [
        ["a=1", "b='x y'", "c=0"],
        ["a=1", "b='x y'", "c=1"],
        ["a=2", "b='x y'", "c=0"],
        ["a=2", "b='x y'", "c=1"],
    ]


def test_lists_in_step() -> None:
    assert parsed(
        "sweep.zip=[[optimizer,optimizer.lr,model.hidden],[sgd,0.1,[50,50]],[adam,1e-3,[9]]]", "seed=1,2"
    ) == [
        ["optimizer=sgd", "optimizer.lr=0.1", "model.hidden=[50,50]", "seed=1"],
        ["optimizer=sgd", "optimizer.lr=0.1", "model.hidden=[50,50]", "seed=2"],
        ["optimizer=adam", "optimizer.lr=0.001", "model.hidden=[9]", "seed=1"],
        ["optimizer=adam", "optimizer.lr=0.001", "model.hidden=[9]", "seed=2"],
    ]
    assert parsed("sweep.zip=null", "seed=1") == [["seed=1"]]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sweep.zip=[[optimizer,optimizer.lr],[sgd]]", "has 2 keys, but its row 1 has 1 values"),
        ("sweep.zip=[[optimizer]]", "the keys, then a row of values for each run"),
        ("sweep.zip=[optimizer,sgd]", "the keys, then a row of values"),
        ("sweep.zip=[[1,2],[3,4]]", "are not keys"),
        ("seed=range(0)", "is an empty list"),
        ("sweep.zip=[[seed],[1],[2]] seed=3,4", "seed is given twice"),
        ("optimizer.lr=interval(0,1)", "is a range without a list of values"),
    ],
)
def test_contradictory_lists_are_refused(override: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parsed(*override.split(" "))


# which stacks


@pytest.mark.slow
def test_the_plan_gives_the_stacks_and_the_reasons_against_others(commands: Commands) -> None:
    jobs = [
        composed(),
        composed("optimizer=sgd", "seed=3", "model.dropout=0.5", "penalty=l2", "loss.label_smoothing=0.1"),
        composed("model.hidden=[9]"),
        composed("optimizer=lbfgs"),
        composed("training.compile=true"),
        composed("model.hidden=[9]", "init=xavier", "scheduler=cosine", "training.early_stopping.patience=2"),
        composed("optimizer.lr_scale={features:0}"),
        composed("data.augment=cutout", "training.ema=0.9"),
        composed("data.augment=[cutout,mixup]", "training.swa=2"),
    ]
    stacks = plan(jobs, 64)
    assert [(planned.jobs, bool(planned.reason)) for planned in stacks] == [
        ((0, 1, 7), False),
        ((2, 5), False),
        ((3,), True),
        ((4,), True),
        ((6,), False),
        ((8,), False),
    ]
    said = "\n".join(described(stacks, jobs))
    assert "9 runs in 4 stacks and 2 on their own" in said
    assert "stack 2: 2 runs, #2, #5  model.hidden=[9]  frozen=[]  mixup=false" in said
    assert "stack 4: 1 run, #8  model.hidden=[100,100]  frozen=[]  mixup=true" in said
    assert "#3, LBFGS has no update rule for stacks" in said
    assert "#4, training.compile is not supported in stacks" in said
    assert [planned.jobs for planned in plan(jobs[:1] * 5, 2)] == [(0, 1), (2, 3), (4,)]
    del commands


@contextmanager
def config_loader() -> Iterator[ConfigLoader]:
    """Hydra's loader of our configuration, as a sweep has it."""
    setup_globals()
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        yield hydra.config_loader


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer=sgd", "seed=3", "optimizer.lr=1e-3"],
        ["model.hidden=[50,50]", "training.clip_norm=null", "name='two words'", "optimizer.lr_scale={head:0.5}"],
        ["+data.more=1"],
        ["model=cnn", "data.augment=[crop_flip,mixup]", "init.bias=torch", "data.preprocess='none'", "seed='1e3'"],
        ["~scheduler.warmup", "objective=val/loss"],
        ["hydra.job.name=x", "data.limit=100"],
        ["name=${init.gain}"],
        ["optimizer.lr=0.5", "training.epochs=0", "optimizer.weight_decay=1.5e-3"],
    ],
)
def test_jobs_are_composed_as_hydra_composes_them(overrides: list[str], tmp_path: Path) -> None:
    with config_loader() as loader:
        typed = [f"hydra.sweep.dir={tmp_path}"]
        master = loader.load_configuration("train", typed, RunMode.MULTIRUN)
        composer = Composer(loader, master)
        for number, seed in enumerate((7, 8)):
            made = composer.compose([*overrides, f"seed={seed}"], number)
            wanted = loader.load_sweep_config(master, [*overrides, f"seed={seed}"])
            task: Any = OmegaConf.to_container(task_part(wanted), resolve=True)
            assert made.task == task
            assert yaml.safe_load(as_yaml(made.task)) == yaml.safe_load(OmegaConf.to_yaml(OmegaConf.create(task)))
            with open_dict(wanted):
                wanted.hydra.job.num, wanted.hydra.job.id = number, str(number)
            own: Any = OmegaConf.to_container(wanted.hydra, resolve=False)
            own["runtime"]["output_dir"] = made.hydra["runtime"]["output_dir"]
            assert made.hydra == own
            assert made.folder == tmp_path / str(wanted.hydra.sweep.subdir)


@pytest.mark.parametrize(
    "subdir",
    [
        "${padded:${hydra.job.num},4}",
        "run ${hydra.job.id}_${clipped:${hydra.job.override_dirname}}",
        "${hydra.job.override_dirname}",
        "${clipped:${hydra.job.override_dirname}}_${seed}",
    ],
)
def test_folders_are_named_as_hydra_names_them(subdir: str, tmp_path: Path) -> None:
    with config_loader() as loader:
        typed = [f"hydra.sweep.dir={tmp_path}", f"hydra.sweep.subdir='{subdir}'"]
        master = loader.load_configuration("train", typed, RunMode.MULTIRUN)
        overrides = ["optimizer.lr=0.1", "name='two words'", "seed=7"]
        made = Composer(loader, master).compose(overrides, 3)
        wanted = loader.load_sweep_config(master, overrides)
        OmegaConf.set_readonly(wanted.hydra, False)
        with open_dict(wanted):
            wanted.hydra.job.num, wanted.hydra.job.id = 3, "3"
        HydraConfig.instance().set_config(wanted)
        assert made.folder == tmp_path / str(wanted.hydra.sweep.subdir)


@pytest.mark.parametrize(
    "line", ["seed=0", "seed=12", "a.b_c=-3", "optimizer.lr=0.001", "optimizer.lr=-1.5e-3", "seed=-0"]
)
def test_numbers_are_read_as_hydra_reads_them(line: str) -> None:
    assert number_of(line) == OverridesParser.create().parse_override(line)


@pytest.mark.parametrize(
    "line",
    [
        "seed=01",
        "seed=1_000",
        "+seed=1",
        "seed=1,2",
        "seed=1.",
        "seed=1e3",
        "a=b",
        "a@b=1",
        "seed='1'",
        "A=1",
        "seed= 1",
    ],
)
def test_what_is_no_plain_number_is_left_to_hydra(line: str) -> None:
    assert number_of(line) is None


# the files of a sweep


@pytest.mark.slow
def test_a_sweep_writes_a_table_and_its_command(commands: Commands) -> None:
    outcome = commands.train("-m", *SMALL, "optimizer=sgd,adam", "seed=1,2")
    assert outcome.code == 0, outcome.err
    sweep = only_sweep(commands.folder)
    rows = results(sweep)
    assert [row["run"] for row in rows] == ["0", "1", "2", "3"]
    assert rows[2]["overrides"] == "optimizer=adam seed=1"
    for row in rows:
        folder = sweep / row["folder"]
        assert row["status"] == summary(folder)["status"] == "finished"
        assert float(row["test/accuracy"]) == summary(folder)["metrics"]["test/accuracy"]
        assert (folder / ".hydra" / "hydra.yaml").exists()
    asked = yaml.safe_load((sweep / "sweep.yaml").read_text())
    assert "optimizer=sgd,adam" in asked["command"]
    assert asked["configuration"]["data"]["limit"] == 96
    assert len(asked["digest"]) == 64
    assert "4 runs in 1 stack" in outcome.out
    assert "4 runs: 4 finished" in outcome.out


@pytest.mark.slow
def test_runs_that_fail_or_diverge_do_not_end_a_sweep(commands: Commands) -> None:
    outcome = commands.train("-m", *SMALL, "optimizer=sgd", "optimizer.lr=0.1,1e30,-1")
    assert outcome.code == 1
    assert "3 runs: 1 finished, 1 diverged, 1 failed" in outcome.out
    sweep = only_sweep(commands.folder)
    assert statuses(sweep) == ["finished", "diverged", "failed"]
    assert "optimizer.lr=-1" in results(sweep)[2]["error"]


@pytest.mark.slow
def test_pictures_are_left_out_unless_they_are_named(commands: Commands) -> None:
    small = [override for override in SMALL if "pictures" not in override]
    assert commands.train("-m", *small, "seed=1", "name=without").code == 0
    assert commands.train("-m", *small, "seed=1", "name=with", "observers.pictures.every=1").code == 0
    named, without = run_folders(commands.folder)
    assert not (without / "pictures").exists()
    assert (named / "pictures").exists()


@pytest.mark.slow
def test_a_zipped_sweep(commands: Commands) -> None:
    zipped = "sweep.zip=[[optimizer,optimizer.lr],[sgd,0.1],[adam,0.001]]"
    assert commands.train("-m", *SMALL, zipped, "seed=1,2").code == 0
    rows = results(only_sweep(commands.folder))
    assert [row["overrides"] for row in rows][::2] == [
        "optimizer=sgd optimizer.lr=0.1 seed=1",
        "optimizer=adam optimizer.lr=0.001 seed=1",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", pytest.param("joblib", marks=pytest.mark.exhaustive)])
def test_other_launchers_have_the_same_results(tmp_path: Path, launcher: str) -> None:
    if launcher == "joblib":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    command = ["-m", *SMALL, "optimizer=sgd,adam", "model.hidden=[9]", f"hydra/launcher={launcher}"]
    two, one = ([f"hydra.launcher.n_jobs={count}"] if launcher == "joblib" else [] for count in (2, 1))
    calm = "import warnings; warnings.simplefilter('default')"
    outcome = run(tmp_path, *command, *two, prelude=calm)
    assert outcome.code == 0, outcome.err
    sweep = only_sweep(tmp_path)
    before = results(sweep)
    assert statuses(sweep) == ["finished", "finished"]
    (sweep / before[1]["folder"] / "summary.json").unlink()
    outcome = run(tmp_path, *command, *one, "resume=latest", prelude=calm)
    assert outcome.code == 0, outcome.err
    assert results(sweep) == before


# resuming


@pytest.mark.slow
def test_a_resumed_sweep_trains_only_the_remaining_runs(commands: Commands) -> None:
    command = ("-m", *SMALL, "model.batch_norm=true", "optimizer=sgd,adam", "seed=1,2")
    assert commands.train(*command).code == 0
    sweep = only_sweep(commands.folder)
    before, folders = results(sweep), run_folders(commands.folder)
    stamps = {folder: (folder / "summary.json").stat().st_mtime_ns for folder in folders}
    (folders[1] / "summary.json").unlink()
    for name in ("summary.json", "metrics.csv", "checkpoints/last.pt", "checkpoints/best.pt", ".hydra/overrides.yaml"):
        (folders[3] / name).unlink()
    outcome = commands.train(*command, "resume=latest")
    assert outcome.code == 0, outcome.err
    assert "2 of these ended before" in outcome.out
    assert run_folders(commands.folder) == folders
    assert results(sweep)[1] == before[1]
    for k in (0, 2):
        assert (folders[k] / "summary.json").stat().st_mtime_ns == stamps[folders[k]]


@pytest.mark.slow
def test_failed_runs_are_tried_again_on_request(commands: Commands) -> None:
    import numpy as np

    command = ("-m", *SMALL, "data=npz", "data.path=own.npz,other.npz")
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(200, 4)).astype("float32"), draw.integers(0, 3, 200)
    np.savez(commands.folder / "other.npz", x_train=x, y_train=y, x_test=x[:50], y_test=y[:50])
    assert commands.train(*command).code == 1
    sweep = only_sweep(commands.folder)
    assert statuses(sweep) == ["failed", "finished"]
    np.savez(commands.folder / "own.npz", x_train=x, y_train=y, x_test=x[:50], y_test=y[:50])
    assert commands.train(*command, f"resume={sweep}").code == 1
    outcome = commands.train(*command, f"resume={sweep}", "retry_failed=true")
    assert outcome.code == 0, outcome.out + outcome.err
    assert statuses(sweep) == ["finished", "finished"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("training.epochs=3", "training.epochs"),
        ("seed=1,2,3", "seed"),
        ("optimizer=sgd", "optimizer"),
        ("model.activation=tanh", "model.activation"),
    ],
)
def test_a_changed_sweep_is_refused_with_the_keys_that_differ(commands: Commands, changed: str, said: str) -> None:
    command = ("-m", *SMALL, "seed=1,2")
    assert commands.train(*command).code == 0
    sweep = only_sweep(commands.folder)
    before = (sweep / "sweep.csv").read_text()
    error = commands.train(*command, changed, f"resume={sweep}").refusal()
    assert f"resume cannot change {said} (" in error
    assert (sweep / "sweep.csv").read_text() == before
    assert commands.train(*command, f"resume={sweep}", "observers.histograms.every=2").code == 0


@pytest.mark.slow
def test_a_resumed_sweep_numbers_its_runs_as_before(commands: Commands) -> None:
    assert commands.train("-m", *SMALL, "optimizer=sgd,adam", "seed=1,2", "training.threads=1,2").code == 0
    sweep = only_sweep(commands.folder)
    before = results(sweep)
    for changed, said in (
        (("seed=1,2", "optimizer=sgd,adam", "training.threads=1,2"), "the swept values or their order"),
        (("optimizer=sgd,adam", "seed=1,2", "training.threads=2,1"), "the swept values or their order"),
    ):
        outcome = commands.train("-m", *SMALL, *changed, f"resume={sweep}")
        assert outcome.code == 2
        assert said in outcome.err
    same = ("optimizer=sgd,adam", "seed=1,2", "training.threads=1,2", f"resume={sweep}", "hydra.sweep.subdir=x_${seed}")
    assert commands.train("-m", *SMALL, *same).code == 0
    assert results(sweep) == before
    assert len(run_folders(commands.folder)) == 8


@pytest.mark.slow
def test_folders_named_by_the_user(commands: Commands) -> None:
    named = ("seed=1,2", "optimizer=sgd,adam", "hydra.sweep.subdir=${seed}/of_${optimizer.lr}")
    assert commands.train("-m", *SMALL, *named, "name=named").code == 0
    sweep = only_sweep(commands.folder)
    assert statuses(sweep) == ["finished"] * 4
    assert {str(folder.relative_to(sweep)) for folder in run_folders(commands.folder)} == {
        "1/of_0.01", "1/of_0.001", "2/of_0.01", "2/of_0.001",
    }  # fmt: skip
    outcome = commands.train("-m", *SMALL, "seed=1,2", "hydra.sweep.subdir=same")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "several jobs the folder 'same'" in outcome.err
    outcome = commands.train("-m", *SMALL, "seed=1,2", "hydra.sweep.subdir=run_${hydra.job.num}", "name=numbered")
    assert "2 runs: 2 finished" in outcome.out


@pytest.mark.slow
def test_two_processes_cannot_run_one_sweep(commands: Commands) -> None:
    command = ("-m", *SMALL, "seed=1,2")
    assert commands.train(*command).code == 0
    sweep = only_sweep(commands.folder)
    with Sweep(sweep).held():
        outcome = commands.train(*command, f"resume={sweep}")
    assert outcome.code == 2
    assert "another process is running the sweep" in outcome.err


@pytest.mark.slow
def test_a_member_that_cannot_write_does_not_stop_the_others(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RunFolder.write_metrics

    def write_metrics(self: RunFolder, rows: Any) -> None:
        if self.path.name.startswith("01_"):
            raise OSError(28, "No space left on device", str(self.path / "metrics.csv"))
        real(self, rows)

    monkeypatch.setattr(RunFolder, "write_metrics", write_metrics)
    outcome = commands.train("-m", *SMALL, "seed=1,2,3")
    assert outcome.code == 1, outcome.err
    assert "training 3 runs one after another to find which one fails" in outcome.out
    assert statuses(sweep := only_sweep(commands.folder)) == ["finished", "failed", "finished"]
    assert "metrics.csv: No space left on device; free some space on the disk" in results(sweep)[1]["error"]


@pytest.mark.slow
def test_each_run_of_a_sweep_has_its_own_checks(commands: Commands) -> None:
    outcome = commands.train("-m", *SMALL, "check=true", "optimizer.lr=0.001,100")
    assert outcome.code == 1
    assert statuses(only_sweep(commands.folder)) == ["finished", "failed"]


@pytest.mark.slow
def test_a_refused_sweep_leaves_nothing_and_latest_passes_over_other_commands(commands: Commands) -> None:
    command = ("-m", *SMALL, "training.epochs=1", "seed=1,2")
    assert commands.train(*command).code == 0
    mine = only_sweep(commands.folder)
    assert commands.train(*command, "optimizer.lr=0.1").code == 0
    before = sorted(commands.folder.glob("outputs/*/*"))
    assert len(before) == 2
    refused: tuple[str, ...] = (
        "optimizer.lrr=1,2",
        "hydra.launcher.max_stack=0",
        "hydra.sweep.subdir=same",
        "objective=nonsense",
    )
    refused += ("observers.layers.every=-1", "data.limit=1", "model.hidden=[0]")
    for word in refused:
        assert commands.train(*command, word).code == 2
        assert sorted(commands.folder.glob("outputs/*/*")) == before
    outcome = commands.train(*command, "resume=latest")
    assert outcome.code == 0, outcome.err
    shown = mine.relative_to(commands.folder)
    assert f"resume=latest resumes {shown} (1 newer sweep of other commands)\n" in outcome.out
    assert "2 of these ended before" in outcome.out
    assert sorted(commands.folder.glob("outputs/*/*")) == before
    outcome = commands.train(*command, "model.dropout=0.5", "resume=latest")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "resume=latest found no sweep of this command in outputs/train; the newest is " in outcome.err
    assert "resume cannot change" in outcome.err


@pytest.mark.slow
def test_a_sweep_of_which_some_runs_can_be_built_keeps_all(commands: Commands) -> None:
    assert commands.train("-m", *SMALL, "training.epochs=1", "model.hidden=[0],[8]").code == 1
    assert statuses(only_sweep(commands.folder)) == ["failed", "finished"]


def test_latest_without_the_flag_of_a_sweep_names_it(commands: Commands) -> None:
    (commands.folder / "outputs" / "train" / "1" / "checkpoints").mkdir(parents=True)
    (commands.folder / "outputs" / "train" / "1" / "checkpoints" / "last.pt").write_text("")
    (commands.folder / "outputs" / "train" / "3" / ".hydra").mkdir(parents=True)
    (commands.folder / "outputs" / "train" / "3" / ".hydra" / "config.yaml").write_text("")  # refused before it trained
    (commands.folder / "outputs" / "train" / "2").mkdir()
    (commands.folder / "outputs" / "train" / "2" / "sweep.yaml").write_text("")
    assert commands.train("resume=latest").refusal() == (
        "Error: resume=latest resumes sweeps: repeat the command of the sweep with -m; the newest in outputs/train is "
        "outputs/train/2; for a single run, give its folder: resume=outputs/train/1\n"
    )
    assert "with -m; for a single run" in commands.train("resume=latest", "name=other").refusal()


@pytest.mark.slow
def test_folders_that_are_not_sweeps(commands: Commands) -> None:
    assert commands.train(*SMALL).code == 0
    (folder,) = run_folders(commands.folder)
    outcome = commands.train("-m", *SMALL, "seed=1,2", f"resume={folder}")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "is not a sweep folder" in outcome.err
    outcome = commands.train("-m", *SMALL, "seed=1,2", "name=other", "resume=latest")
    assert outcome.code == 2
    assert "found no sweep" in outcome.err
    assert commands.train("-m", *SMALL, "seed=1,2").code == 0
    outcome = commands.train(f"resume={only_sweep(commands.folder)}")
    assert outcome.code == 2
    assert "is a sweep folder; to resume it, give the command of the sweep again, with -m" in outcome.err
    outcome = commands.train("-m", *SMALL, "seed=1,2", "hydra.launcher.executor=rya")
    assert outcome.code == 2
    assert "hydra.launcher.executor='rya' should be 'inline', 'local' or 'ray'" in outcome.err
    outcome = commands.train("-m", *SMALL, "seed=1,2", "hydra.launcher.max_stack=0")
    assert "hydra.launcher.max_stack=0 should be greater than or equal to 1" in outcome.err
    outcome = commands.train("-m", *SMALL, "seed=1,2", "retry_failed=maybe")
    assert "retry_failed='maybe' should be true or false" in outcome.err


SWEPT = ("-m", *SMALL, "training.epochs=5", "optimizer=sgd,adam", "seed=range(3)", "training.early_stopping.patience=1")
BATCH_NORM = ("model.batch_norm=true", "model.dropout=0.1")
CNN = ("model=cnn", "model.stages=[[4]]", "model.hidden=[]", "model.batch_norm=true")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], list[dict[str, str]]]:
    """The tables of sweeps that were not killed."""
    tables: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for model in (BATCH_NORM, CNN):
        folder = tmp_path_factory.mktemp("undisturbed")
        assert run(folder, *SWEPT, *model).code in (0, 1)
        tables[model] = results(only_sweep(folder))
    return tables


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "name", "at", "seconds"),
    [
        (BATCH_NORM, "checkpoints/last.pt", 1, 3),
        pytest.param(BATCH_NORM, "checkpoints/last.pt", 15, 0, marks=pytest.mark.exhaustive),
        pytest.param(CNN, "metrics.csv", 9, 0.1, marks=pytest.mark.exhaustive),
        (CNN, "summary.json", 2, 3),
        pytest.param(BATCH_NORM, "overrides.yaml", 4, 0, marks=pytest.mark.exhaustive),
        pytest.param(BATCH_NORM, "sweep.csv", 3, 3, marks=pytest.mark.exhaustive),
    ],
)
def test_a_killed_and_resumed_sweep_has_the_same_results(
    tmp_path: Path,
    undisturbed: dict[tuple[str, ...], list[dict[str, str]]],
    model: tuple[str, ...],
    name: str,
    at: int,
    seconds: float,
) -> None:
    killed = run(tmp_path, *SWEPT, *model, prelude=KILL_AT.format(name=name, at=at, seconds=seconds))
    assert killed.code == -signal.SIGKILL, killed.err
    before = {path: path.read_bytes() for path in tmp_path.glob("outputs/*/*/*/summary.json")}
    outcome = run(tmp_path, *SWEPT, *model, "resume=latest")
    assert outcome.code in (0, 1), outcome.err
    assert results(only_sweep(tmp_path)) == undisturbed[model]
    assert all(path.read_bytes() == content for path, content in before.items())
    assert not list(tmp_path.glob("outputs/**/*.tmp"))


@pytest.mark.slow
def test_ctrl_c_leaves_a_sweep_that_can_be_resumed(tmp_path: Path) -> None:
    command = ("-m", *SMALL, "training.epochs=60", "model.hidden=[9],[8]", "seed=1,2")
    process = start(tmp_path, *command)
    while not list(tmp_path.glob("outputs/*/*/00_*/checkpoints/last.pt")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "2 interrupted, 2 waiting" in out
    assert "resume=" in out
    outcome = run(tmp_path, *command, "resume=latest")
    assert outcome.code == 0, outcome.err
    alone = tmp_path / "alone"
    alone.mkdir()
    assert run(alone, *command).code == 0
    assert results(only_sweep(tmp_path)) == results(only_sweep(alone))


# workers


needs_ray = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import ray"], capture_output=True).returncode != 0, reason="Ray is missing"
)


@pytest.mark.slow
@pytest.mark.exhaustive
@needs_ray
def test_a_killed_worker_is_restarted_from_the_checkpoints(tmp_path: Path) -> None:
    command = ("-m", *SMALL, "training.epochs=80", "model.hidden=[9],[8]", "seed=1,2")
    process = start_fresh(tmp_path, *command, "hydra.launcher.executor=ray", prelude="import warnings")
    killed = None
    deadline = time.monotonic() + 150
    while killed is None and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        if list(tmp_path.glob("outputs/*/*/00_*/checkpoints/last.pt")):
            found = subprocess.run(["pgrep", "-f", "ray::train"], capture_output=True, text=True).stdout.split()
            killed = next(iter(map(int, found)), None)
            if killed is not None:
                os.kill(killed, signal.SIGKILL)
        time.sleep(0.05)
    out, err = process.communicate(timeout=240)
    assert killed is not None
    assert process.returncode == 0, out + err
    assert "a worker was killed: restarting 2 runs from the last checkpoint" in out
    assert statuses(only_sweep(tmp_path)) == ["finished"] * 4
    assert all(len(metrics(folder)) == 80 for folder in run_folders(tmp_path))
    inline = tmp_path / "inline"
    inline.mkdir()
    assert run(inline, *command).code == 0
    assert [row["test/loss"] for row in results(only_sweep(inline))] == [
        row["test/loss"] for row in results(only_sweep(tmp_path))
    ]


@pytest.mark.slow
@needs_ray
def test_an_address_that_nobody_answers(commands: Commands) -> None:
    for address, said in (("127.0.0.1:9", "no answer after"), ("nonsense", "is not an address")):
        outcome = commands.train(
            "-m", *SMALL, "seed=1,2", "hydra.launcher.executor=ray", f"hydra.launcher.ray.address='{address}'"
        )
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
        assert said in outcome.err


@pytest.mark.slow
def test_the_summary_has_the_size_of_the_stack(commands: Commands) -> None:
    assert commands.train("-m", *SMALL, "seed=range(5)", "hydra.launcher.max_stack=3").code == 0
    found = [json.loads((f / "summary.json").read_text()).get("trained_together") for f in run_folders(commands.folder)]
    assert found == [3, 3, 3, 2, 2]
