"""Comparisons of folders that are broken, half written, or come from a stranger."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.comparison.planted import compared, plant, plant_all, refused, rows_of
from tests.helpers import Commands, thinned

plain = pytest.mark.usefixtures("undrawn")


def test_an_error_without_runs_names_the_folder(commands: Commands) -> None:
    (commands.folder / "empty" / "below").mkdir(parents=True)
    said = refused(commands, "empty")
    assert "no runs in 'empty' or in folders below; a run folder contains .hydra/config.yaml" in said
    broken = plant(commands.folder / "empty" / "run")
    (broken / ".hydra" / "config.yaml").write_text("seed: [1")
    assert "run cannot be read (" in refused(commands, "empty")
    (commands.folder / "file").write_text("")
    assert "'file' is not a folder; give folders of runs or sweeps" in refused(commands, "file")


def folder_for(path: Path) -> None:
    """Put a folder in the place of a file."""
    path.unlink()
    path.mkdir()


CONFIG = ".hydra/config.yaml"
BROKEN: dict[str, Callable[[Path], object]] = {
    "a truncated configuration": lambda run: (run / CONFIG).write_text("seed: 1\noptimizer: {lr: [0.1"),
    "a configuration that is empty": lambda run: (run / CONFIG).write_text(""),
    "a configuration that is a list": lambda run: (run / CONFIG).write_text("- seed\n- 1\n"),
    "a configuration without a seed": lambda run: (run / CONFIG).write_text("name: x\n"),
    "a configuration of bytes": lambda run: (run / CONFIG).write_bytes(os.urandom(400)),
    "a configuration that is huge": lambda run: (run / CONFIG).write_bytes(b"seed: 1\n" + b"#" * 20_000_001),
    "a configuration that holds itself": lambda run: (run / CONFIG).write_text("seed: 1\na: &a\n  b: *a\n"),
    "a configuration nested deeply": lambda run: (run / CONFIG).write_text("seed: " + "[" * 30_000 + "]" * 30_000),
    "a date that is none": lambda run: (run / CONFIG).write_text("seed: 1\nday: 2020-13-45\n"),
    "a choice of groups that is no text": lambda run: (run / ".hydra" / "hydra.yaml").write_bytes(b"\xff\xfe\x00"),
    "overrides that are cut off": lambda run: (run / ".hydra" / "overrides.yaml").write_text("- 'a"),
    "metrics that are empty": lambda run: (run / "metrics.csv").write_text(""),
    "metrics without epochs": lambda run: (run / "metrics.csv").write_text("step,val/loss\n1,0.5\n"),
    "metrics of words": lambda run: (run / "metrics.csv").write_text("epoch,step,val/loss\n1,7,good\n"),
    "metrics of unequal rows": lambda run: (run / "metrics.csv").write_text("epoch,step,val/loss\n1,7,0.5\n2,1"),
    "metrics of bytes": lambda run: (run / "metrics.csv").write_bytes(b"epoch,\x00\xff\n"),
    "metrics in one endless field": lambda run: (run / "metrics.csv").write_text('epoch,"' + "x" * 200_000),
    "a summary that is cut off": lambda run: (run / "summary.json").write_text('{"status": "fini'),
    "a summary that is a list": lambda run: (run / "summary.json").write_text('["finished"]'),
    "a summary nested deeply": lambda run: (run / "summary.json").write_text("[" * 100_000),
    "a summary that is empty": lambda run: (run / "summary.json").write_text(""),
    "a folder for a file": lambda run: folder_for(run / "summary.json"),
}


@plain
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_folder_is_named_skipped_and_counted(commands: Commands, kind: str) -> None:
    plant_all(commands.folder, [0.5, 0.6])
    run = plant(commands.folder / "broken", 0.0, seed=3, curve=[0.1])
    BROKEN[kind](run)
    said = compared(commands, ".").out
    assert "val/loss of 2 runs in 1 group\n" in said
    assert "1 folder cannot be read and is left out (broken: " in said
    assert "broken" in (commands.folder / "comparison" / "report.md").read_text()
    assert len(said) < 3000


@plain
def test_many_broken_folders_are_counted(commands: Commands) -> None:
    plant_all(commands.folder, [0.5, 0.6])
    for number in range(9):
        (plant(commands.folder / f"b{number}", 0.0, seed=9) / "summary.json").write_text("")
    said = compared(commands, ".").out
    assert "9 folders cannot be read and are left out (b0: " in said
    assert "; and 4 more)" in said


ODD: dict[str, Callable[[Path], object]] = {
    "metrics that are no mapping": lambda run: changed(run, metrics=[1, 2]),
    "metrics of words": lambda run: changed(run, metrics={"val/loss": "good", "val/accuracy": None}),
    "versions that are a list": lambda run: changed(run, versions=["torch", 2]),
    "verdicts that are none": lambda run: changed(run, verdicts=[1, {"name": []}, {"name": {"a": 1}}]),
    "speed without an end": lambda run: changed(run, examples_per_second=10**400, trained_together="many"),
    "a status of its own": lambda run: changed(run, status="\x1b[31mgone</script><b>"),
    "a status that is a list": lambda run: changed(run, status=["finished"]),
    "numbers without an end": lambda run: (run / "metrics.csv").write_text(
        "epoch,step,val/loss,seconds\n1,7,inf,1\n2,14,nan,nan\n3,21,1e308,-inf\n"
    ),
    "metrics that stop at the header": lambda run: (run / "metrics.csv").write_text("epoch,step,val/loss\n"),
    "a column twice": lambda run: (run / "metrics.csv").write_text("epoch,val/loss,val/loss\n1,0.5,0.6\n"),
    "layers of bytes": lambda run: (run / "layers.csv").write_bytes(os.urandom(1000)),
    "layers of words": lambda run: (run / "layers.csv").write_text(
        "epoch,step,layer,quantity,value\none,two,features.hidden1,dead,0.5\ntwo,3,features.hidden1,dead,oops\n"
    ),
    "layers with other columns": lambda run: (run / "layers.csv").write_text("a,b\n1,2\n"),
    "layers that are cut off": lambda run: (run / "layers.csv").write_text(
        "epoch,step,layer,quantity,value\n1,7,features.hidden1,dead,0.5\n2,14,fea"
    ),
    "layers of nothing": lambda run: (run / "layers.csv").write_text(
        "epoch,step,layer,quantity,value\n1,7,a.weight,update_ratio,0\n1,7,b.weight,update_ratio,0\n1,7,a,dead,-1\n"
    ),
    "layers without an end": lambda run: (run / "layers.csv").write_text(
        "epoch,step,layer,quantity,value\n1,7,features.hidden1,gradient_norm,inf\n2,14,features.hidden1,dead,-inf\n"
    ),
    "events of bytes": lambda run: (run / "events.out.tfevents.1.x").write_bytes(os.urandom(5000)),
    "events that are empty": lambda run: (run / "events.out.tfevents.1.x").write_bytes(b""),
    "events that are a folder": lambda run: (run / "events.out.tfevents.1.x").mkdir(),
    "keys that are no names": lambda run: more(run, "1: {2: 3}\n'': x\nnull: 4\n? [a, b]\n: 5\n2020-01-01: 6\n"),
    "values that are no numbers": lambda run: more(run, "day: 2020-01-01\nraw: !!binary aGk=\nfew: !!set {a, b}\n"),
    "a list that holds itself": lambda run: more(run, "a: &a [*a]\nb: [{2020-01-01: 1}]\n"),
    "a choice of groups that is missing": lambda run: (run / ".hydra" / "hydra.yaml").unlink(),
    "overrides that are a mapping": lambda run: (run / ".hydra" / "overrides.yaml").write_text("a: 1"),
}


def changed(run: Path, **more: object) -> None:
    """Write something else into a summary."""
    path = run / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))


def more(run: Path, text: str) -> None:
    """Write something more into a configuration."""
    with (run / CONFIG).open("a") as file:
        file.write(text)


@pytest.mark.slow
@pytest.mark.parametrize("kind", thinned(ODD))
def test_odd_contents_end_in_no_traceback(commands: Commands, kind: str) -> None:
    """Read or skipped: the other runs are compared in any case, with every figure."""
    plant_all(commands.folder, [0.5, 0.6])
    run = plant(commands.folder / "odd", 0.0, seed=3, curve=[0.1, 0.2])
    ODD[kind](run)
    outcome = commands.type("compare", ".")
    assert (outcome.code, outcome.err) == (0, "")
    odd = [row for row in rows_of(commands.folder, "runs") if row["folder"].endswith("odd")]
    assert odd or "(odd: " in outcome.out
    assert "\x1b" not in outcome.out


@plain
def test_a_sweep_file_that_is_broken(commands: Commands) -> None:
    plant_all(commands.folder, [0.5, 0.6])
    for text in ("runs: [", "runs: {0: {folder: 1}, 1: 2}", "runs: 2020-13-45", "runs: " + "[" * 30_000, "- 1"):
        (commands.folder / "sweep.yaml").write_text(text)
        compared(commands, ".")


# a stranger's folder


@plain
def test_nothing_in_a_folder_is_executed(commands: Commands) -> None:
    plant_all(commands.folder, [0.5, 0.6])
    for number, tag in enumerate(("object/apply:os.system", "object/new:os.system", "object/apply:builtins.exec")):
        run = plant(commands.folder / f"evil{number}", 0.0, seed=3)
        for name in ("config.yaml", "overrides.yaml"):
            (run / ".hydra" / name).write_text(f"seed: !!python/{tag} ['touch {commands.folder}/pwned']\n")
    evil = f"runs: !!python/object/apply:os.system ['touch {commands.folder}/pwned']\n"
    (commands.folder / "sweep.yaml").write_text(evil)
    said = compared(commands, ".", "where=seed=1").out
    assert "4 folders cannot be read and are left out (" in said
    assert not (commands.folder / "pwned").exists()
    said = refused(commands, ".", f"where=seed=!!python/object/apply:os.system ['touch {commands.folder}/pwned']")
    assert not (commands.folder / "pwned").exists()


@pytest.mark.slow
def test_nothing_is_written_outside_the_output(commands: Commands) -> None:
    victim = commands.folder / "victim"
    victim.mkdir()
    for number in range(3):
        config = yaml.safe_dump({"seed": 1, "objective": "val/loss", "model": {"../../../victim/x": number + 0.5}})
        run = plant(commands.folder / "runs" / str(number), 0.1 * number)
        (run / CONFIG).write_text(config)
    compared(commands, "runs")
    assert not list(victim.iterdir())
    assert {path.parent.name for path in (commands.folder / "runs" / "comparison").rglob("*.svg")} == {"figures"}


@pytest.mark.slow
def test_a_very_long_key_is_shortened_in_file_names(commands: Commands) -> None:
    for number in range(3):
        run = plant(commands.folder / str(number), 0.1 * number)
        more(run, f'{"k" * 300}: {number + 0.5}\n"with\\0nought": {number}\n')
    compared(commands, ".")


@plain
@pytest.mark.parametrize("name", ["comparison", "comparison/figures"])
def test_a_link_instead_of_the_output_folder_is_not_followed(commands: Commands, name: str) -> None:
    plant_all(commands.folder / "runs", [0.5, 0.6])
    victim = commands.folder / "victim"
    victim.mkdir()
    link = commands.folder / "runs" / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(victim)
    said = refused(commands, "runs")
    assert "is a link" in said
    assert "remove it" in said
    assert not list(victim.iterdir())
    compared(commands, "runs", "out=victim")
    assert (victim / "table.csv").exists()


@plain
def test_a_link_instead_of_a_file_is_replaced(commands: Commands) -> None:
    plant_all(commands.folder, [0.5, 0.6])
    (commands.folder / "precious").write_text("mine")
    (commands.folder / "comparison").mkdir()
    (commands.folder / "comparison" / "table.csv").symlink_to(commands.folder / "precious")
    compared(commands, ".")
    assert (commands.folder / "precious").read_text() == "mine"
    assert len(rows_of(commands.folder)) == 1


@plain
def test_circular_links_are_followed_once(commands: Commands) -> None:
    plant_all(commands.folder / "runs", [0.5, 0.6])
    (commands.folder / "runs" / "loop").symlink_to(commands.folder / "runs")
    (commands.folder / "runs" / "self").symlink_to("self")
    hydra = commands.folder / "runs" / "knot" / ".hydra"
    hydra.mkdir(parents=True)
    (hydra / "config.yaml").symlink_to("config.yaml")
    assert "val/loss of 2 runs in" in compared(commands, "runs", "runs/loop").out


@plain
@pytest.mark.parametrize("name", [CONFIG, "metrics.csv", "summary.json", "layers.csv", "events.out.tfevents.1.x"])
def test_a_pipe_is_not_waited_for(commands: Commands, name: str) -> None:
    plant_all(commands.folder, [0.5, 0.6])
    run = plant(commands.folder / "pipe", 0.0, seed=3)
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)

    def hang_up() -> None:
        """Give a reader that waits nonetheless an end, so that the test fails and does not hang."""
        with (run / name).open("w"):
            ended.set()

    ended = threading.Event()
    timer = threading.Timer(20, lambda: threading.Thread(target=hang_up, daemon=True).start())
    timer.start()
    outcome = commands.type("compare", ".")
    timer.cancel()
    assert not ended.is_set()
    assert (outcome.code, outcome.err) == (0, "")


@plain
def test_aliases_that_multiply_are_not_written_out(commands: Commands) -> None:
    plant_all(commands.folder, [0.5, 0.6])
    for kind in ("[{0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}]", "{{a: {0}, b: {0}, c: {0}, d: {0}, e: {0}, f: {0}}}"):
        run = plant(commands.folder / f"laughs{len(kind)}", 0.0, seed=3)
        lines = ["seed: 3", "l0: &l0 {x: 1}"]
        lines += [f"l{n}: &l{n} {kind.format(f'*l{n - 1}')}" for n in range(1, 12)]
        (run / CONFIG).write_text("\n".join(lines))
    said = compared(commands, ".").out
    assert "2 folders cannot be read and are left out (" in said


@plain
def test_a_terminal_is_sent_no_commands(commands: Commands) -> None:
    for seed in (1, 2):
        plant(commands.folder / f"a{seed}", 0.5, seed=seed, model__name="\x1b]0;owned\x07\x1b[2J[bold]x[/nothing]")
        plant(
            commands.folder / f"b{seed}", 0.6, seed=seed, model__name="plain\nsecond line | <script>alert(1)</script>"
        )
    said = compared(commands, ".").out
    assert "\x1b" not in said
    assert "[bold]x[/nothing]" in said
    page = (commands.folder / "comparison" / "report.html").read_text()
    assert "<script>alert(1)" not in page
    markdown = (commands.folder / "comparison" / "report.md").read_text()
    assert "<script>" not in markdown
    assert "\nsecond line" not in markdown


# where it is written


@plain
def test_an_output_that_cannot_be_written(commands: Commands) -> None:
    plant_all(commands.folder, [0.5, 0.6])
    (commands.folder / "file").write_text("")
    said = refused_late(commands, ".", "out=file")
    assert "cannot write" in said
    assert refused_late(commands, ".", "out=/proc/nowhere")


def refused_late(commands: Commands, *arguments: str) -> str:
    """Compare, expect one sentence and code 2."""
    outcome = commands.type("compare", *arguments)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    return outcome.err


@plain
def test_folders_with_odd_names(commands: Commands) -> None:
    plant_all(commands.folder / "by=optimizer" / "a b,c=[1]'$x", [0.5, 0.6])
    plant_all(commands.folder / "größe=2 中", [0.5, 0.6, 0.7])
    assert "val/loss of 2 runs" in compared(commands, "./by=optimizer").out
    assert "val/loss of 3 runs" in compared(commands, "größe=2 中").out
    assert "comparison/report.html" in compared(commands, "./by=optimizer/a b,c=[1]'$x").out.splitlines()[-1]


@plain
def test_a_sweep_that_is_called_comparison(commands: Commands) -> None:
    plant_all(commands.folder / "outputs" / "comparison" / "2026", [0.5, 0.6])
    assert "val/loss of 2 runs" in compared(commands, "outputs").out
    assert "val/loss of 2 runs" in compared(commands, "outputs").out
