"""Folders from strangers: none of these attacks runs anything or writes anything outside of its folder."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from experiments.common.conf import conf_folder
from experiments.common.errors import UserError
from experiments.evaluation.loading import load
from tests.helpers import SMALL, Commands, Outcome, composed, run, run_folders, sampled

pytestmark = pytest.mark.slow

Attack = Callable[[Path, Path], None]
"""Changes a run folder; the second folder is outside of it, and holds what an attack must not change."""


class Payload:
    """Runs a program when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


def touching(outside: Path) -> str:
    """Return a command that leaves a file."""
    return f"touch {outside / 'HIT'}"


# the attacks


def changed(run: Path, settings: Mapping[str, Any]) -> None:
    """Set keys in both files that a configuration is read from."""
    config, overrides = (run / ".hydra" / name for name in ("config.yaml", "overrides.yaml"))
    content, lines = yaml.safe_load(config.read_text()), yaml.safe_load(overrides.read_text())
    for key, value in settings.items():
        *path, last = key.split(".")
        section = content
        for step in path:
            section = section.setdefault(step, {})
        section[last] = value
        lines.append(f"++{key}={typed(value)}")
    config.write_text(yaml.safe_dump(content))
    overrides.write_text(yaml.safe_dump(lines))


def typed(value: Any) -> str:
    """Return a value in Hydra's grammar."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{typed(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(typed, value)) + "]"
    if isinstance(value, str):
        escaped = value.replace("'", r"\'")
        return f"'{escaped}'"
    return {None: "null", True: "true", False: "false"}.get(value, str(value))


def names(section: str, target: str, **settings: Any) -> Attack:
    """Name code that is not allowed in a section, with the arguments that would let it do something."""

    def attack(run: Path, outside: Path) -> None:
        command = touching(outside)
        given = {k: v.replace("COMMAND", command).replace("OUTSIDE", str(outside)) for k, v in settings.items()}
        changed(run, {f"{section}._target_": target} | {f"{section}.{key}": value for key, value in given.items()})

    return attack


def fetches(run: Path, outside: Path) -> None:
    """Fetch a pickle as the weights of a model: torch.hub reads it as code."""
    (outside / "weights.pt").write_bytes(pickle.dumps(Payload(touching(outside))))
    weights: dict[str, Any] = {
        "_target_": "torchvision.models.resnet.Weights",
        "url": (outside / "weights.pt").as_uri(),
        "transforms": None,
        "meta": {},
    }
    changed(run, {"model._target_": "torchvision.models.resnet.WeightsEnum.get_state_dict", "model.self": weights})


def nested(key: str) -> Attack:
    """Hide code inside a setting."""

    def attack(run: Path, outside: Path) -> None:
        changed(run, {key: {"_target_": "subprocess.Popen", "args": ["touch", str(outside / "HIT")]}})

    return attack


def nested_in_a_list(run: Path, outside: Path) -> None:
    """Hide code in a list in a list."""
    changed(run, {"model.hidden": [[{"_target_": "os.system", "command": touching(outside)}]]})


def overrides(*lines: str) -> Attack:
    """Add overrides; OUTSIDE stands for the folder outside, UP for the way from a group of ours to the run's folder."""

    def attack(run: Path, outside: Path) -> None:
        evil = f"# @package hydra.callbacks.x\n_target_: os.system\ncommand: {touching(outside)}\n"
        (run / "evil.yaml").write_text(evil)
        (run / "optimizer").mkdir()
        (run / "optimizer" / "adam.yaml").write_text(evil)
        up = os.path.relpath(run / "evil", conf_folder() / "optimizer")
        path = run / ".hydra" / "overrides.yaml"
        added = [line.replace("OUTSIDE", str(outside)).replace("UP", up).replace("RUN", str(run)) for line in lines]
        path.write_text(yaml.safe_dump([*yaml.safe_load(path.read_text()), *added]))

    return attack


def pickled(name: str) -> Attack:
    """Replace a checkpoint by a pickle that runs a program."""

    def attack(run: Path, outside: Path) -> None:
        for path in (run / "checkpoints").iterdir():
            path.unlink()
        (run / "checkpoints" / name).write_bytes(pickle.dumps(Payload(touching(outside))))

    return attack


def pickled_in_an_archive(run: Path, outside: Path) -> None:
    """Put such a pickle where torch's own format has one."""
    for path in (run / "checkpoints").iterdir():
        path.unlink()
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Payload(touching(outside))))
            archive.writestr("archive/version", "3")


def tagged(name: str) -> Attack:
    """Name a function with one of YAML's tags."""

    def attack(run: Path, outside: Path) -> None:
        path = run / ".hydra" / name
        path.write_text(f"{path.read_text()}\nx: !!python/object/apply:os.system ['{touching(outside)}']\n")

    return attack


def linked(name: str, *, folder: bool = False, there: str | None = None) -> Attack:
    """Replace a file or folder by a link to one outside, with the same content; PID is the number of this process."""

    def attack(run: Path, outside: Path) -> None:
        path, target = run / name.replace("PID", str(os.getpid())), outside / (there or Path(name).name)
        if path.exists():
            shutil.move(path, target)
        elif folder:
            target.mkdir()
        else:
            target.write_text("precious\n")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    return attack


def linked_hard(name: str) -> Attack:
    """Give a file outside a second name in the folder."""

    def attack(run: Path, outside: Path) -> None:
        (outside / "precious").write_text("precious\n")
        (run / name).unlink(missing_ok=True)
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).hardlink_to(outside / "precious")

    return attack


def piped(name: str) -> Attack:
    """Replace a file by a pipe, on which a program would wait for ever."""

    def attack(run: Path, _outside: Path) -> None:
        (run / name).unlink(missing_ok=True)
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(run / name)

    return attack


SHELL = {"command": "COMMAND"}
POPEN = {"args": "COMMAND", "shell": "1"}
EVERYWHERE = ("model", "optimizer", "loss", "init", "scheduler", "penalty", "data", "observers.metrics")
READ = ("load", "evaluate", "export", "resume")
"""The verbs that restore a run; `evaluate` and `export` call `load` first, and write only if it succeeds."""

CODE: dict[str, Attack] = {
    "weights that torch.hub fetches": fetches,
    **{f"os.system as {section}": names(section, "os.system", **SHELL) for section in EVERYWHERE},
    **{f"subprocess.Popen as {section}": names(section, "subprocess.Popen", **POPEN) for section in EVERYWHERE},
    "builtins.exec": names("model", "builtins.exec", source="__import__('os').system('COMMAND')"),
    "builtins.eval": names("loss", "builtins.eval", source="__import__('os').system('COMMAND')"),
    "os through torch": names("optimizer", "torch.os.system", **SHELL),
    "os through a module of ours": names("init", "experiments.data.pictures.os.system", **SHELL),
    "a method of a module": names("model", "torch.nn.Module.load_state_dict"),
    "a hook": names("model", "torch.nn.Module.register_forward_hook"),
    "torch.load": names("model", "torch.load", f="OUTSIDE/weights.pt", weights_only="0"),
    "torch.hub.load": names("model", "torch.hub.load", repo_or_dir="OUTSIDE", source="local", model="x"),
    "torch.jit.load": names("model", "torch.jit.load", f="OUTSIDE/weights.pt"),
    "torch.package": names("model", "torch.package.PackageImporter", file_or_buffer="OUTSIDE/weights.pt"),
    "an importer": names("loss", "torch.nn.functional.importlib.import_module", name="antigravity"),
    "our own writer": names("model", "experiments.common.files.write_whole", path="OUTSIDE/HIT", content="x"),
    "our own reader of pictures as a model": names("model", "experiments.data.pictures.image_folder", path="."),
    "Hydra's caller": names("model", "hydra.utils.call", config="x"),
    "a private name": names("loss", "torch.nn.functional._pad"),
    "a preparation that is a program": nested("data.preprocess"),
    "an augmentation that is a program": nested("data.augment"),
    "code in a setting of the model": nested("model.activation"),
    "code in a setting of the optimizer": nested("optimizer.betas"),
    "code in a setting of the training": nested("training.clip_norm"),
    "code in a setting of an observer": nested("observers.layers.every"),
    "code in the weights to start from": nested("init_from.path"),
    "code in a new section": nested("mine"),
    "code in a list": nested_in_a_list,
    "a last checkpoint that is a pickle": pickled("last.pt"),
    "a best checkpoint that is a pickle": pickled("best.pt"),
    "a checkpoint with a program in its archive": pickled_in_an_archive,
    "a tag of YAML in the configuration": tagged("config.yaml"),
    "a tag of YAML in the overrides": tagged("overrides.yaml"),
    "trained weights by their name": names("model", "torchvision.models.resnet18", weights="DEFAULT"),
}
REASONS = {
    "code in a setting of the optimizer": "names code from outside this package|Cannot merge",
    "code in a new section": "names code from outside this package|unknown setting 'mine'",
    "a last checkpoint that is a pickle": "is broken",
    "a best checkpoint that is a pickle": "is broken",
    "a checkpoint with a program in its archive": "which no checkpoint needs",
    "a tag of YAML in the configuration": "is not a run folder|cannot be read|is damaged",
    "a tag of YAML in the overrides": "overrides.yaml is damaged|is not a run folder",
    "trained weights by their name": "model.weights='DEFAULT' should be|wants to (fetch|connect)",
}
"""What is said about the attacks that are not refused for the code that they name."""
OVERRIDES: dict[str, Attack] = {
    line: overrides(line)
    for line in (
        "optimizer=UP",
        "optimizer=[UP]",
        "+optimizer=UP",
        "+optimizer=[adam,../RUN]",
        "+optimizer=extend_list(../RUN)",
        "optimizer=choice(../RUN,adam)",
        "optimizer=a/../UP",
        "+../UP=adam",
        "optimizer='UP'",
        "optimizer@hydra.callbacks.x=adam",
        "+optimizer@hydra.callbacks.x=adam",
        "+optimizer@hydra.callbacks.x=UP",
        "+optimizer@_global_=adam",
        "+optimizer@nowhere.x=adam",
        "hydra.callbacks.x._target_=os.system",
        "+hydra.callbacks.x={_target_: os.system, command: touch OUTSIDE/HIT}",
        "++hydra.callbacks.x._target_=os.system",
        "~hydra.callbacks.fresh_folder",
        "hydra/launcher=basic",
        "+hydra/callbacks=x",
        "hydra.run.dir=OUTSIDE/HIT",
        "hydra.sweep.dir=OUTSIDE/HIT",
        "hydra.job.chdir=true",
        "hydra.searchpath=[file://RUN]",
        "+hydra.searchpath=[file://RUN]",
        "hydra.mode=MULTIRUN",
        "--config-dir=RUN",
        "-m",
        "resume=OUTSIDE",
        "trust=[os]",
        "++trust=[os,subprocess]",
        "+trial.storage=OUTSIDE/HIT",
        "trial={storage: OUTSIDE/HIT}",
        "name=${oc.env:HOME}",
        "name='${oc.env:HOME}'",
        "data.cache=OUTSIDE/HIT",
        "+data.cache=OUTSIDE/HIT",
        "+data={cache: OUTSIDE/HIT}",
        "++data={cache: OUTSIDE/HIT}",
        "no override at all",
    )
}
LINKS: dict[str, Attack] = {
    **{f"a link at {name}": linked(name, folder=True) for name in (".hydra", "checkpoints", "pictures", "evaluation")},
    **{
        f"a link at {name}": linked(name)
        for name in (
            ".hydra/config.yaml", ".hydra/overrides.yaml", "checkpoints/last.pt", "checkpoints/best.pt",
            "checkpoints/next.pt", "train.log", "metrics.csv", "layers.csv", "summary.json", "data.json", ".lock",
            ".metrics.csv.PID.tmp", ".summary.json.PID.tmp",
        )
    },
    "a link to nothing": lambda run, outside: (run / "HIT").symlink_to(outside / "HIT"),
    "a pipe at train.log": piped("train.log"),
    "a pipe at .lock": piped(".lock"),
    "a pipe at metrics.csv": piped("metrics.csv"),
}  # fmt: skip
WRITTEN: dict[str, tuple[str, Attack]] = {
    "evaluation": ("evaluate", linked("evaluation", folder=True)),
    "evaluation/test": ("evaluate", linked("evaluation/test", folder=True)),
    "evaluation/test/predictions.csv": ("evaluate", linked("evaluation/test/predictions.csv")),
    "evaluation/test/.evaluation.json.tmp": (
        "evaluate", linked("evaluation/test/.evaluation.json.PID.tmp"),
    ),
    "export": ("export", linked("export", folder=True)),
    "remedy": ("remedy", linked("remedy", folder=True)),
    "remedy/.lock": ("remedy", linked("remedy/.lock")),
    "remedy/remedy.json": ("remedy", linked("remedy/remedy.json")),
    "remedy/.remedy.json.tmp": ("remedy", linked("remedy/.remedy.json.PID.tmp")),
    "remedy/the_run_seed=0": ("remedy", linked("remedy/the_run_seed=0", folder=True)),
    "remedy/the_run_seed=0/train.log": ("remedy", linked("remedy/the_run_seed=0/train.log")),
    "remedy/the_run_seed=0/.hydra": ("remedy", linked("remedy/the_run_seed=0/.hydra", folder=True)),
    "remedy/the_run_seed=0/checkpoints": ("remedy", linked("remedy/the_run_seed=0/checkpoints", folder=True)),
    "a second name at remedy/the_run_seed=0/train.log": (
        "remedy", linked_hard("remedy/the_run_seed=0/train.log"),
    ),
    "a pipe at remedy/.lock": ("remedy", piped("remedy/.lock")),
    "comparison": ("compare", linked("comparison", folder=True)),
    "comparison/table.csv": ("compare", linked("comparison/table.csv")),
    "comparison/figures": ("compare", linked("comparison/figures", folder=True)),
    "a second name at comparison/runs.csv": ("compare", linked_hard("comparison/runs.csv")),
    "export/model.pt2": ("export", linked("export/model.pt2")),
    "a second name at export/model.json": ("export", linked_hard("export/model.json")),
    "a second name at evaluation/test/predictions.csv": (
        "evaluate", linked_hard("evaluation/test/predictions.csv"),
    ),
    "a second name at metrics.csv": ("resume", linked_hard("metrics.csv")),
    "a second name at train.log": ("resume", linked_hard("train.log")),
    "a second name at .lock": ("resume", linked_hard(".lock")),
    "a second name at next.pt": ("resume", linked_hard("checkpoints/next.pt")),
}  # fmt: skip
"""What is written through, with the verb that writes there."""


# the checks


@pytest.fixture
def outside(commands: Commands) -> Path:
    """A folder that no attack may change."""
    folder = commands.folder / "outside"
    folder.mkdir()
    (folder / "precious").write_text("precious\n")
    return folder


def contents(top: Path, without: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return everything below a folder except one: kind, time of the last change, content."""
    found = {}
    for path in sorted(top.rglob("*")):
        if path != without and not path.is_relative_to(without):
            status = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            found[str(path)] = status.st_mode, status.st_mtime_ns * stat.S_ISREG(status.st_mode), content
    return found


def attacked(commands: Commands, verb: str, folder: Path) -> Outcome:
    """Run a verb on a folder; nothing but the sentence of an error may come of it."""
    if verb == "load":
        try:
            load(folder)
        except UserError as error:
            return Outcome(2, "", f"Error: {error}\n")
        return Outcome(0, "", "")
    if verb == "resume":
        return commands.train(f"resume={folder}")
    if verb == "remedy":
        return commands.type("remedy", f"run={folder}", "seeds=2", "most=1")
    return commands.type(verb, str(folder))


def held(commands: Commands, folder: Path, outside: Path, verbs: tuple[str, ...]) -> Iterator[tuple[str, Outcome]]:
    """Run verbs on a folder and check each time that nothing has happened outside."""
    before = contents(commands.folder, folder)
    for verb in verbs:
        outcome = attacked(commands, verb, folder)
        assert not (outside / "HIT").exists(), f"{verb} ran it: {outcome.err}"
        after = contents(commands.folder, folder)
        assert after == before, f"{verb} wrote {[key for key in after | before if after.get(key) != before.get(key)]}"
        assert "Traceback" not in outcome.err
        assert "\x1b" not in outcome.out + outcome.err
        yield verb, outcome


@pytest.mark.parametrize("name", CODE)
def test_no_code_of_a_stranger_is_run(commands: Commands, copied: Path, outside: Path, name: str) -> None:
    CODE[name](copied, outside)
    for verb, outcome in held(commands, copied, outside, READ):
        if name == "a tag of YAML in the overrides" and verb != "resume":
            assert outcome.code == 0, outcome.err  # only `resume` reads them
            continue
        assert re.search(REASONS.get(name, "names code from outside this package"), outcome.refusal()), (
            f"{verb}: {outcome.err}"
        )


RESUMED: dict[str, tuple[Attack, str]] = {
    **{name: (attack, "which no run of ours writes|is outside the run's folder") for name, attack in OVERRIDES.items()},
    **{name: (attack, "is a link, so|is neither a file nor a folder") for name, attack in LINKS.items()},
}
"""Saved overrides that reach beyond the run, and links, with the reasons for which the run is not resumed."""


@pytest.mark.parametrize("name", RESUMED)
def test_a_run_that_reaches_beyond_its_folder_is_not_resumed(
    commands: Commands, copied: Path, outside: Path, name: str
) -> None:
    attack, reason = RESUMED[name]
    attack(copied, outside)
    for _, outcome in held(commands, copied, outside, ("resume",)):
        assert re.search(reason, outcome.refusal()), outcome.err


SELDOM = ("remedy", "comparison", "export/", "a second name at", "a pipe at remedy")
"""The beginnings of the names of those that `make test` does not take, with one exception."""


@pytest.mark.parametrize(
    "name", sampled(WRITTEN, ["remedy/the_run_seed=0", *(name for name in WRITTEN if not name.startswith(SELDOM))])
)
def test_nothing_is_written_through_a_link(commands: Commands, copied: Path, outside: Path, name: str) -> None:
    verb, attack = WRITTEN[name]
    attack(copied, outside)
    for _, outcome in held(commands, copied, outside, (verb,)):
        assert outcome.code in (0, 2), outcome.err


TRIED = [name for name in CODE if "checkpoint" not in name]
SET_BY_REMEDY = ("resume=", "trust=", "trial=", "name=")
"""Saved overrides that the trials set themselves, so that they do not count."""
REFUSED_BY_REMEDY = "names code from outside this package|which no run of ours writes|is outside the run's folder"


@pytest.mark.parametrize(
    "name", sampled(TRIED, ("os.system as model", "weights that torch.hub fetches", "a tag of YAML"))
)
def test_no_code_of_a_stranger_is_run_by_its_remedies(
    commands: Commands, copied: Path, outside: Path, name: str
) -> None:
    CODE[name](copied, outside)
    for _, outcome in held(commands, copied, outside, ("remedy",)):
        if outcome.code:  # it leaves the observers out
            refused = rf"{REFUSED_BY_REMEDY}|{REASONS.get(name, 'no reason')}|is not a run folder"
            assert re.search(refused, outcome.refusal()), outcome.err
        else:
            assert "observer" in name


@pytest.mark.parametrize("name", sampled(OVERRIDES, ("optimizer=UP", "+optimizer@hydra.callbacks.x=adam")))
def test_remedies_reach_no_further_than_the_run(commands: Commands, copied: Path, outside: Path, name: str) -> None:
    OVERRIDES[name](copied, outside)
    for _, outcome in held(commands, copied, outside, ("remedy",)):
        if outcome.code:
            assert re.search(REFUSED_BY_REMEDY, outcome.refusal()), outcome.err
        else:
            assert name.lstrip("+").startswith(SET_BY_REMEDY)


def test_a_folder_for_decoded_pictures_is_used_when_it_is_typed_again(commands: Commands, copied: Path) -> None:
    overrides("+data.cache=/elsewhere")(copied, commands.folder)
    shutil.rmtree(copied / "optimizer")
    outcome = commands.train(f"resume={copied}")
    assert "repeat it: data.cache=/elsewhere" in outcome.err
    assert "is outside the run's folder" not in commands.train(f"resume={copied}", "+data.cache=/elsewhere").err


@pytest.mark.parametrize("lines", [["model.hidden=[" + "1," * 20_000 + "1]"], ["seed=1"] * 5_000])
def test_saved_overrides_that_take_minutes_to_read_are_refused(
    commands: Commands, copied: Path, outside: Path, lines: list[str]
) -> None:
    path = copied / ".hydra" / "overrides.yaml"
    path.write_text(yaml.safe_dump([*yaml.safe_load(path.read_text()), *lines]))
    for _, outcome in held(commands, copied, outside, ("resume",)):
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert ".hydra/overrides.yaml has more than 20,000 characters" in outcome.err


def test_a_saved_download_does_not_create_a_folder(commands: Commands, copied: Path, outside: Path) -> None:
    lines = ("data=fashion_mnist", "data.download=true", f"data.root={outside}/HIT")
    path = copied / ".hydra" / "config.yaml"
    saved = [line for line in yaml.safe_load((path.parent / "overrides.yaml").read_text()) if "data." not in line]
    (path.parent / "overrides.yaml").write_text(yaml.safe_dump([*saved, *lines]))
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "data": composed(*lines)["data"]}))
    for _, outcome in held(commands, copied, outside, ("resume",)):
        assert outcome.code == 2
        assert "download" in outcome.err


# texts

STRANGE = "\x1b[2J\x1b]0;owned\x07<script>alert(1)</script>"


def renamed(classes: list[str]) -> list[str]:
    """Return names of classes that a terminal, a browser or a spreadsheet would obey."""
    return [*classes[:-3], "$\\frac{$", "=HYPERLINK(1)", STRANGE]


def test_names_of_classes_are_shown_as_texts(commands: Commands, copied: Path, outside: Path) -> None:
    path = copied / "data.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, "classes": renamed(about["classes"])}))
    np.savez(commands.folder / "own.npz", x=np.zeros((3, *about["shape"]), dtype="float32"))
    outcome = commands.type("evaluate", str(copied), "input=own.npz")
    assert outcome.code == 0, outcome.err
    assert "\x1b" not in outcome.out + outcome.err
    table = next(copied.glob("evaluation/input_*/predictions.csv")).read_text()
    assert "\x1b" not in table
    for _, outcome in held(commands, copied, outside, ("evaluate", "resume")):
        assert outcome.code in (0, 2)


def test_a_name_of_a_folder_is_shown_as_text(commands: Commands, copied: Path, outside: Path) -> None:
    folder = copied.rename(copied.with_name("\x1b[2Jowned"))
    for _, outcome in held(commands, folder, outside, ("evaluate", "resume")):
        assert outcome.code == 0, outcome.err
    assert "\x1b" not in (folder / "train.log").read_text()


# sweeps


@pytest.fixture(scope="session")
def sweep_trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two runs, to be copied; one has no summary, so that it is trained again."""
    folder = tmp_path_factory.mktemp("sweep")
    outcome = run(folder, "-m", *SMALL, "seed=1,2")
    assert outcome.code == 0, outcome.err
    sweep = run_folders(folder)[0].parent
    (sweep / "01_seed=2" / "summary.json").unlink()
    return sweep


def noted(name: str) -> Attack:
    """Let `sweep.yaml` name the folder of a run; OUTSIDE stands for the folder outside."""

    def attack(sweep: Path, outside: Path) -> None:
        path = sweep / "sweep.yaml"
        content = yaml.safe_load(path.read_text())
        content["runs"][1]["folder"] = name.replace("OUTSIDE", str(outside))
        path.write_text(yaml.safe_dump(content))

    return attack


def link_and_note(sweep: Path, outside: Path) -> None:
    """Lead out of the folder through a link with an ordinary name."""
    (sweep / "more").symlink_to(outside)
    noted("more/run")(sweep, outside)


SWEEPS: dict[str, Attack] = {
    "a run elsewhere": noted("OUTSIDE/HIT"),
    "a run above": noted("../outside/HIT"),
    "a run above through a run": noted("00_seed=1/../../outside/HIT"),
    "a run behind a link": link_and_note,
    **{
        f"a link at {name}": linked(name)
        for name in (".lock", "sweep.csv", "sweep.yaml", "01_seed=2", "01_seed=2/train.log", "01_seed=2/checkpoints")
    },
    "a pipe as the lock": piped(".lock"),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_a_resumed_sweep_writes_only_into_its_folder(
    commands: Commands, sweep_trained: Path, outside: Path, name: str
) -> None:
    sweep = Path(shutil.copytree(sweep_trained, commands.folder / "sweep"))
    SWEEPS[name](sweep, outside)
    before = contents(commands.folder, sweep)
    outcome = commands.train("-m", *SMALL, "seed=1,2", f"resume={sweep}")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.out + outcome.err
    assert "is a link" in outcome.err or "is outside the folder of the sweep" in outcome.err or "neither" in outcome.err
    assert contents(commands.folder, sweep) == before


def test_the_same_sweep_without_an_attack_is_resumed(commands: Commands, sweep_trained: Path) -> None:
    sweep = Path(shutil.copytree(sweep_trained, commands.folder / "sweep"))
    outcome = commands.train("-m", *SMALL, "seed=1,2", f"resume={sweep}")
    assert outcome.code == 0, outcome.err
    assert (sweep / "01_seed=2" / "summary.json").exists()
