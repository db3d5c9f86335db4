"""A reader that has gone and a closed output end nothing early and print nothing; real processes, for every verb."""

import codecs
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.cli.entry import PLAINLY, independent, plainly
from experiments.cli.verbs import VERBS
from tests.helpers import SMALL, run_folders, sampled, summary, thinned

pytestmark = pytest.mark.slow

PROGRAM = str(Path(sys.executable).with_name("experiments"))
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")


def bash(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a bash script, in which a command of a pipeline that fails decides the code."""
    environment = {**os.environ, "PATH": f"{Path(PROGRAM).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


def without_reader(folder: Path, *command: str, errors_too: bool = False) -> tuple[int, str]:
    """Run a command whose output nobody reads any more; return its code, and what it printed as errors."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            command, cwd=folder, stdout=writer, stderr=writer if errors_too else subprocess.PIPE, text=True, timeout=240
        )
    finally:
        os.close(writer)
    return done.returncode, done.stderr or ""


HELP = [
    "experiments",
    "python -m experiments",
    *(f"experiments {verb} --help" for verb in VERBS),
    *(f"python -m experiments.{verb} --help" for verb in ("train", "compare")),
    "experiments train --hydra-help",
    "experiments train --info all",
    "experiments train --cfg job",
    "experiments -sc install=bash",
    "COMP_LINE='experiments train ' experiments -sc query=bash",
]


EACH_KIND = (
    "experiments",
    "experiments train --help",
    "experiments compare --help",
    "python -m experiments.train --help",
    "experiments train --cfg job",
    "COMP_LINE='experiments train ' experiments -sc query=bash",
)
"""What `make test` runs of them."""


@needs_bash
@pytest.mark.parametrize("command", sampled(HELP, EACH_KIND))
def test_help_ends_quietly(tmp_path: Path, command: str) -> None:
    """With `head`, which may go after the first line; with a reader that went before it; with none."""
    script = (
        f"{command} | head -1; echo $?; {command} | true; echo $?; {command} >&-; echo $?; {command} >&- 2>&-; echo $?"
    )
    done = bash(tmp_path, script)
    line, *codes = done.stdout.splitlines()
    assert line
    assert codes == ["0"] * 4
    assert done.stderr == ""


def test_errors_without_a_reader_keep_their_code(tmp_path: Path) -> None:
    for words in (["nothing"], ["train", "optimizer=adm"], ["train", "optimizer.lr=-1"], ["compare", "nowhere"]):
        assert without_reader(tmp_path, PROGRAM, *words, errors_too=True) == (2, "")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a sweep, `outputs/small`, was trained while nobody read."""
    folder = tmp_path_factory.mktemp("sweep")
    command = [PROGRAM, "train", "-m", *SMALL, "seed=1,2", "name=small"]
    assert without_reader(folder, *command) == (0, "")
    return folder


def test_a_sweep_is_trained_to_its_end(sweep: Path) -> None:
    assert [summary(folder)["status"] for folder in run_folders(sweep)] == ["finished"] * 2


@pytest.mark.parametrize("errors_too", sampled([False, True], [True]))
def test_a_run_is_trained_to_its_end_and_logged(tmp_path: Path, errors_too: bool) -> None:
    command = [sys.executable, "-m", "experiments.train", *SMALL]
    assert without_reader(tmp_path, *command, errors_too=errors_too) == (0, "")
    (folder,) = run_folders(tmp_path)
    assert summary(folder)["status"] == "finished"
    assert "\nrun      " in (folder / "train.log").read_text()


WORK = {
    "compare outputs/small": "outputs/small/comparison/report.html",
    "evaluate run=outputs/small best=1": "outputs/small/*/*/evaluation/test/predictions.csv",
    "export run=outputs/small best=1 format=torch": "outputs/small/*/*/export/model.pt2",
    "check only=symmetry name=checked": "outputs/checked/*/checks.json",
    "reproduce zero_weights": "outputs/gallery/index.html",
    "surface -m optimizer=sgd,adam name=followed": "outputs/followed/*/surface.png",
}
"""A command of each other verb, and a file that it writes last."""


@pytest.mark.parametrize("words", sampled(WORK, ["compare outputs/small"]))
def test_the_other_verbs_run(sweep: Path, words: str) -> None:
    assert without_reader(sweep, PROGRAM, *words.split()) == (0, "")
    assert list(sweep.glob(WORK[words]))


@needs_bash
def test_a_closed_output(sweep: Path) -> None:
    """No file of the run is given the descriptor of the output, and printed to."""
    small = " ".join(f"'{word}'" for word in SMALL)
    for command in (
        f"experiments train {small} name=closed >&- 2>&- <&-",
        "experiments compare outputs/small >&-",
    ):
        done = bash(sweep, command)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for folder in sweep.glob("outputs/closed/*"):
        assert summary(folder)["status"] == "finished"
        assert (folder / "metrics.csv").read_text().startswith("epoch,")
        assert len((folder / "metrics.csv").read_text().splitlines()) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this machine")
@needs_bash
def test_an_output_on_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    for command in ("experiments", "experiments train --help", "python -u -m experiments.compare --help"):
        done = bash(tmp_path, f"{command} > /dev/full")
        assert (done.returncode, done.stderr) == (
            2,
            "Error: cannot write <stdout>: No space left on device; free some space on the disk, "
            "or write to another one\n",
        )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", b"plain\n"),
        ("cut off\u2026 159\u00b0 3 \u00d7 4", b"cut off~ 159 deg 3 x 4\n"),
        ("\u0416 \u732b", b"\\u0416 \\u732b\n"),
    ],
)
def test_an_output_without_unicode_is_no_error(tmp_path: Path, text: str, shown: bytes) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as stream:
        codecs.register_error(PLAINLY, plainly)
        print(text, file=independent(stream, 1), flush=True)
    assert (tmp_path / "out").read_bytes() == shown


@pytest.mark.parametrize("words", thinned([(), ("-m", "seed=1,2")]), ids=["a run", "a sweep"])
def test_a_run_and_a_sweep_without_unicode_and_colours(tmp_path: Path, words: tuple[str, ...]) -> None:
    code = "import sys; sys.argv[0] = 'train'; from experiments.train import main; main()"
    plain = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "LANG": "C", "NO_COLOR": "1", "COLUMNS": "40"}
    done = subprocess.run(
        [sys.executable, "-c", code, *words, *SMALL, "name='caf\u00e9'"],
        cwd=tmp_path,
        env=plain,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert b"caf\\xe9" in done.stdout
    assert max(done.stdout) < 128
