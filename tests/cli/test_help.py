"""`--help` shows what people need, `--help all` what the configuration offers, `--help <topic>` one thing of it."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.cli import _help
from experiments.cli._help import LESSONS, OFTEN, WIDTH, description, full_help, header, settings, short_help
from experiments.cli._topics import Book, topic_text
from experiments.cli.verbs import VERBS
from experiments.common.habits import EXPLAINED
from experiments.common.keys import flattened
from experiments.train import EXAMPLES
from experiments.verdicts.remedies import TABLE
from tests.helpers import CONF, REPOSITORY, Commands, sampled

TRAIN = "python -m experiments.train"
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name not in ("hydra", "surface"))
"""Of `train`, without the groups of other verbs."""


def section(text: str, heading: str) -> list[str]:
    """The lines of a help text below a line, up to the next blank one."""
    lines = text.splitlines()
    start = lines.index(heading) + 1
    return lines[start : lines.index("", start)]


LONGEST = 60
"""The lines of the help that fit a screen or two."""


@pytest.mark.parametrize("verb", ["train", "check", "surface"])
def test_the_help_is_short(commands: Commands, verb: str) -> None:
    shown = commands.type(verb, "--help")
    assert (shown.code, shown.err) == (0, "")
    lines = shown.out.splitlines()
    assert len(lines) <= LONGEST
    assert max(map(len, lines)) <= WIDTH
    assert lines[0].startswith(f"usage: python -m experiments.{verb} ")


def test_the_help_lists_the_groups_with_their_choices(commands: Commands) -> None:
    shown = " ".join(section(commands.train("--help").out, "Groups and their choices (* is the default):"))
    listed = dict(re.findall(r"(\w+)= +(.*?)(?=  \w+=|$)", shown))
    assert listed.keys() == set(GROUPS)
    for name in set(GROUPS) - {LESSONS}:
        choices = [choice.strip().lstrip("*") for choice in listed[name].split(",")]
        assert choices == sorted(path.stem for path in (CONF / name).glob("*.yaml"))
    count = len(list((CONF / LESSONS).glob("*.yaml")))
    assert listed[LESSONS] == f"one of {count} lessons; python -m experiments.reproduce --help lists them"


def test_the_help_shows_settings_that_exist_with_what_they_mean(commands: Commands) -> None:
    shown = section(commands.train("--help").out, "Settings that are often changed:")
    found = [re.match(r"  ([\w.]+)=(.*?)  +(\w.*)$", line) for line in shown if not line.startswith("   ")]
    assert all(found)
    assert [match[1] for match in found if match] == [key for key in OFTEN if key != "only"]
    assert "only=null" in commands.type("check", "--help").out


def test_the_help_names_the_way_to_the_rest(commands: Commands) -> None:
    text = commands.train("--help").out
    topics = re.findall(r"^  python -m experiments\.train (--help .*?)  ", text, re.MULTILINE)
    assert topics == ["--help all", "--help data", "--help optimizer.lr"]
    for topic in topics:
        assert commands.train(*topic.split()).code == 0


def test_all_help_lists_every_choice_with_its_description(commands: Commands) -> None:
    shown = commands.train("--help", "all").out
    for name in set(GROUPS) - {LESSONS}:
        for path in (CONF / name).glob("*.yaml"):
            described = next(line for line in path.read_text().splitlines() if "@package" not in line)
            expected = f"{path.stem} {described.removeprefix('# ')}"
            lines = [" ".join(line.split()).removeprefix("* ") for line in help_lines(shown, name)]
            assert expected[:60] in {line[:60] for line in lines}


def help_lines(shown: str, group: str) -> list[str]:
    """The choices of a group in a help text, whether or not the configuration has a place for it."""
    return section(shown, f"  {group}=" if f"  {group}=" in shown.splitlines() else f"  +{group}=")


def test_help_marks_the_defaults_that_hydra_takes(commands: Commands, default_run: Any) -> None:
    shown, short = commands.train("--help", "all").out, commands.train("--help").out
    taken = {name: choice for name, choice in default_run["hydra"]["runtime"]["choices"].items() if name in GROUPS}
    assert taken
    assert re.findall(r"\*(\w+)", section_text(short)) == [taken[n] for n in in_order(short) if taken.get(n)]
    for name in set(GROUPS) - {LESSONS}:
        marked = [line.split()[1] for line in help_lines(shown, name) if line.startswith("  * ")]
        assert marked == [taken[name]] if taken.get(name) else not marked


def section_text(short: str) -> str:
    """The groups of a short help."""
    return " ".join(section(short, "Groups and their choices (* is the default):"))


def in_order(short: str) -> list[str]:
    """The names of the groups of a short help."""
    return re.findall(r"(\w+)=", section_text(short))


def test_all_help_lists_every_setting_with_its_default(commands: Commands) -> None:
    shown = commands.train("--help", "all").out
    listed = {
        key: yaml.safe_load(value)
        for key, value in re.findall(r"^  ([\w.]+)=(\S+)(?:  .*)?$", shown.partition("Settings")[2], re.MULTILINE)
    }
    own = {k: v for k, v in yaml.safe_load((CONF / "train.yaml").read_text()).items() if k not in ("defaults", "hydra")}
    assert listed == {
        key: value
        for key, value in flattened(own).items()
        if not isinstance(value, dict) and not key.endswith("_target_")
    }


def test_comments_of_settings(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "# About the file\n"
        "first: 1\n"
        'quoted: "a # b"   # real\n'
        "bare: a#b\n"
        "# above\n"
        "# and on\n"
        "below: [1,  2]\n"
        "\n"
        "part:   # of a part\n"
        "  _target_: some.where  # hidden\n"
        "  list: [1,\n"
        "    2]  # the end\n"
        "  # in the part\n"
        "  empty:\n"
        "  map: {a: 1}  # flow\n"
        "hydra:\n"
        "  verbose: true  # hidden\n"
    )
    assert [(found.key, found.value, found.comment) for found in settings([tmp_path], "x")] == [
        ("first", "1", ""),
        ("quoted", '"a # b"', "real"),
        ("bare", "a#b", ""),
        ("below", "[1, 2]", "above and on"),
        ("part", None, "of a part"),
        ("part.list", "[1, 2]", "the end"),
        ("part.empty", "", "in the part"),
        ("part.map", "{a: 1}", "flow"),
    ]


def test_help_fits_its_width_with_any_flag(commands: Commands) -> None:
    shown = commands.train("--help")
    assert shown.code == 0
    assert max(len(line) for line in commands.train("--help", "all").out.splitlines()) <= WIDTH
    assert shown.out.startswith(f"usage: {TRAIN} ")
    for words in (["-h"], ["optimizer=sgd", "--help"], ["seed=1", "-m", "seed=2", "-h"], ["resume=nowhere", "-h"]):
        assert commands.train(*words) == shown
    assert commands.train("--help", "all") == commands.train("-h", "data", "-m", "all")
    assert not list(commands.folder.iterdir())


@pytest.mark.parametrize("words", [words for words, _ in EXAMPLES])
def test_the_examples_compose(commands: Commands, words: str) -> None:
    assert f"{TRAIN} {words}".rstrip() in commands.train("--help").out
    one = [re.sub(r",.*", "", word) for word in words.split() if word != "-m"]
    outcome = commands.train(*one, "--cfg", "job")
    assert outcome.code == 0, outcome.err
    assert outcome.out


@pytest.mark.parametrize("flag", [["--config-dir", "own"], ["--config-dir=own"], ["-cd", "own"], ["-cd=own"]])
def test_help_lists_a_users_own_choices(commands: Commands, own: Path, flag: list[str]) -> None:
    assert own.parent == commands.folder
    assert "lion" in section_text(commands.train(*flag, "--help").out)
    assert "  +flavour=    sweet\n" in commands.train(*flag, "--help").out
    shown = commands.train(*flag, "--help", "all").out
    optimizers = {line[4:].split()[0]: line for line in section(shown, "  optimizer=")}
    assert optimizers["lion"].endswith("  The sign of the momentum")
    assert "  * adam_short " in optimizers["adam_short"]
    assert [line.strip() for line in section(shown, "  +flavour=")] == ["sweet"]
    # What the folder repeats is taken from ours.
    assert "Not the one" not in shown
    assert "torch.optim.Adam" in commands.train(*flag, "optimizer=adam", "--cfg", "job").out


def test_help_of_a_users_own_configuration(commands: Commands, own: Path) -> None:
    assert "*lion" in section_text(commands.train("-cd", str(own), "-cn", "mine", "--help").out)
    shown = commands.train("-cd", str(own), "-cn", "mine", "--help", "all").out
    assert "  * lion " in shown
    assert "  * mlp " in shown
    assert "  * adam_short " not in shown
    assert "  seed=7" in shown
    assert "  training.epochs=" in shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--config-dir=nowhere", "-h"],
            "--config-dir=nowhere is not a folder; give a folder with <group>/<choice>.yaml in it",
        ),
        (
            ["-cn", "other", "-h"],
            "--config-name=other is not a configuration; it must be a file other.yaml in --config-dir",
        ),
        (["-sc"], "'-sc' is not supported; choose from install=bash, install=fish, install=zsh"),
        (
            ["-sc", "install=tcsh"],
            "'-sc install=tcsh' is not supported; choose from install=bash, install=fish, install=zsh",
        ),
    ],
)
def test_questions_that_cannot_be_answered(commands: Commands, words: list[str], sentence: str) -> None:
    outcome = commands.train(*words)
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"Error: {sentence}\n")


def test_help_of_another_verb(tmp_path: Path) -> None:
    (tmp_path / "compare.yaml").write_text(
        "# Compare runs.\ndefaults:\n  - optional style: null\nruns: []  # folders\n"
    )
    (tmp_path / "style").mkdir()
    (tmp_path / "style" / "plain.yaml").write_text("# @package _global_\n# No ornament\na: 1\n")
    example = [("runs=[a,b]", "two of them")]
    shown = full_help("compare", [tmp_path], example)
    assert "  python -m experiments.compare runs=[a,b]  two of them" in shown
    assert section(shown, "  style=") == ["    plain  No ornament"]
    assert "  runs=[]  folders" in shown
    short = short_help("compare", [tmp_path], example)
    assert "  style=  plain\n" in short
    assert "  runs=[]  folders" in short


def test_help_about_a_group(commands: Commands) -> None:
    shown = commands.train("--help", "data").out
    assert shown.startswith(f"usage: {TRAIN} data=<choice> ")
    choices = section(shown, "Choices (* is the default):")
    names = [line[4:].split()[0] for line in choices if line[:4] in ("    ", "  * ") and line[4] != " "]
    assert names == sorted(path.stem for path in (CONF / "data").glob("*.yaml"))
    assert any("missing=error" in line for line in choices)
    assert "  data.val_fraction=0.2" in "\n".join(section(shown, "Settings with every choice:"))
    for name in GROUPS:
        text = commands.train("--help", name)
        assert (text.code, text.err) == (0, "")
        assert max(map(len, text.out.splitlines())) <= WIDTH
    assert "python -m experiments.reproduce --help" in commands.train("--help", LESSONS).out


def test_help_about_a_choice_and_a_section(commands: Commands) -> None:
    shown = commands.train("--help", "data=csv")
    assert shown == commands.train("--help", "csv")
    assert shown.out.startswith(f"usage: {TRAIN} data=csv ")
    assert "  data.missing=error         error, mean" in shown.out
    assert "data.val_fraction=0.2" in shown.out
    training = commands.train("--help", "training").out
    assert "  training.early_stopping.patience=null " in training
    assert len(re.findall(r"^  training\.", training, re.MULTILINE)) == len(training.split("\n  training.")) - 1


@pytest.mark.parametrize(
    ("topic", "lines"),
    [
        (
            "training.epochs",
            [
                "training.epochs",
                "  meaning  passes over the training split; 0 only evaluates the initial weights",
                "  type     an integer of at least 0",
                "  default  20",
                "  example  python -m experiments.train training.epochs=40",
            ],
        ),
        (
            "sweep.zip",
            [
                "sweep.zip",
                "  meaning  with -m, lists of values that advance together:",
                "           [[optimizer,optimizer.lr],[sgd,0.1],[adam,0.001]]",
                "  type     several kinds; see the meaning",
                "  default  null",
                "  example  python -m experiments.train -m \\",
                "             'sweep.zip=[[optimizer,optimizer.lr],[sgd,0.1],[adam,0.001]]'",
            ],
        ),
        (
            "penalty.strength",
            [
                "penalty.strength",
                "  meaning  the factor of the term, called lambda in textbooks",
                "  type     a number of at least 0",
                "  default  1e-5 with penalty=l1; 1e-4 with penalty=l2",
                "  example  python -m experiments.train penalty=l1 penalty.strength=5e-06",
            ],
        ),
    ],
)
def test_help_about_a_setting(commands: Commands, topic: str, lines: list[str]) -> None:
    assert commands.train("--help", topic).out.splitlines() == lines


def test_help_about_settings_by_their_last_words(commands: Commands) -> None:
    assert commands.train("--help", "epochs") == commands.train("--help", "training.epochs")
    rate = commands.train("--help", "lr").out
    assert rate.splitlines()[:3] == [
        "optimizer.lr",
        "  meaning  learning rate: the size of the steps",
        "  type     a number greater than 0",
    ]
    assert "0.01 with optimizer=adagrad, asgd, momentum, nesterov, sgd" in " ".join(rate.split())
    both = commands.train("--help", "epochs", "optimizer.lr=0.1").out
    assert both == commands.train("--help", "epochs").out + "\n" + rate


@pytest.mark.parametrize(
    ("topic", "sentence"),
    [
        (
            "optimzer",
            "unknown topic 'optimzer' of --help; choose a group, a setting or all; did you mean '--help optimizer'?",
        ),
        (
            "training.epoch",
            "unknown topic 'training.epoch' of --help; choose a group, a setting or all; "
            "did you mean '--help training.epochs'?",
        ),
        ("xyzzyqq", "unknown topic 'xyzzyqq' of --help; choose a group, a setting or all"),
        ("none", "--help none may mean penalty=none"),
        ("path", "--help path may mean init_from.path or data.path; name one of them"),
    ],
)
def test_unknown_topics(commands: Commands, topic: str, sentence: str) -> None:
    outcome = commands.train("--help", topic)
    if topic == "none":
        assert outcome == commands.train("--help", "penalty=none")
        return
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"Error: {sentence}\n")


def every_setting(verb: str) -> tuple[Book, list[str]]:
    """The book of a verb's help, and the keys of its settings."""
    from experiments.assembly._signatures import SIGNATURES

    book = Book(f"python -m experiments.{verb}", [CONF], verb, lambda: SIGNATURES)
    return book, book.keys


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["train", "surface"])
def test_every_setting_has_a_meaning_a_type_and_a_default(verb: str) -> None:
    book, keys = every_setting(verb)
    for key in keys:
        text = topic_text(book, key)
        labels = re.findall(r"^  (\w+) ", text, re.MULTILINE)
        assert labels[:3] == ["meaning", "type", "default"], text
        meaning = re.findall(r"^  meaning  (.*)$", text, re.MULTILINE)[0]
        assert not meaning.startswith(("experiments.", "torch.", "see ")), text
        assert max(map(len, text.splitlines())) <= WIDTH, text
        assert "example" in labels or key in ("recipe", "trial"), text


@pytest.mark.slow
@pytest.mark.parametrize("step", sampled([1, 30], [30]))
def test_the_examples_of_settings_compose_and_have_the_type(commands: Commands, step: int) -> None:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from experiments.cli._topics import hint_of, place_of
    from experiments.common.signatures import value_of

    book, keys = every_setting("train")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for key in keys[::step]:
            found = re.search(r"^  example  (.*(?:\n {13}.*)*)", topic_text(book, key), re.MULTILINE)
            if found is None:
                continue
            words = shlex.split(found[1].replace("\\\n", " "))[3:]
            config = compose("train", overrides=[word for word in words if word != "-m"])
            value = OmegaConf.to_container(config, resolve=False)
            for part in key.split("."):
                assert isinstance(value, dict), key
                value = value[part]
            assert value_of(value, hint_of(book, place_of(book, key)), key) == value or value is not None
    assert not list(commands.folder.iterdir())


@pytest.mark.slow
def test_an_installed_package_answers_at_once_from_any_folder(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "src" / "experiments", tmp_path / "site" / "experiments")
    shutil.copytree(CONF, tmp_path / "site" / "experiments" / "conf")
    code = (
        "import sys, experiments; from experiments.train import main; main(); print(experiments.__file__)\n"
        "assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)"
    )
    for words, line, expected in (
        (["--help"], "", ", *adam_short, "),
        (["--help", "all"], "", "  * adam_short "),
        (["-sc", "query=bash"], "experiments train optimizer=adam optimizer.b", "optimizer.betas="),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "site"), "COMP_LINE": line},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
        assert str(tmp_path) in done.stdout


@pytest.mark.parametrize("verb", ["__main__", *VERBS])
def test_the_help_of_every_verb_fits_its_width(commands: Commands, verb: str) -> None:
    shown = commands.type(verb, "--help")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith("usage: ")
    where = str(REPOSITORY)  # a path in the command that installs an extra may be long
    assert max(len(line) for line in shown.out.splitlines() if where not in line) <= WIDTH


def test_only_reproduce_lists_the_lessons(commands: Commands) -> None:
    lessons = {path.stem: path for path in (CONF / LESSONS).glob("*.yaml")}
    shown = commands.type("reproduce", "--help").out
    listed = re.findall(r"^  (\w+)  +\S", shown.partition("Recipes of tier=")[2], re.MULTILINE)
    assert sorted(listed) == sorted(lessons)
    assert re.findall(r"^Recipes of tier=(\w+):$", shown, re.MULTILINE) == ["fast", "mnist", "long"]
    for words in (["--help"], ["--help", "all"], ["--help", LESSONS]):
        text = commands.train(*words).out
        assert not any(re.search(rf"\b{name}\b", text) for name in lessons if len(name) > len("zero_weights"))
    (example,) = re.findall(r"^  python -m experiments\.reproduce ((?!.*=)\w.*?)  ", shown, re.MULTILINE)
    assert set(example.split()) <= set(lessons)


@pytest.mark.parametrize("columns", [80, 60, 40])
@pytest.mark.parametrize("words", [(), ("all",), ("data",), ("optimizer.lr",)])
def test_the_help_fits_a_narrow_terminal(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, columns: int, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(_help, "on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = commands.train("--help", *words).out.splitlines()
    long = [line for line in lines if len(line) > columns]
    # Commands are not cut, and neither are the keys of settings.
    assert [line for line in long if " python -m " not in line and "=" not in line and " eval " not in line] == []
    assert columns < 80 or len(long) <= 2


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ("learning_rate", "optimizer.lr\n  meaning  learning rate: the size of the steps\n"),
        ("num_workers", "data.workers=2 reads a Dataset of one's own by two processes"),
        ("max_epochs", "training.epochs\n  meaning  passes over the training split"),
        (
            "hydra.sweeper.n_trials",
            "  hydra.sweeper.n_trials=20  trials in the study, including those from before a resu",
        ),
        ("hydra.launcher", "  hydra.launcher.executor=inline "),
    ],
)
def test_the_names_of_other_programs_and_of_plugins_are_topics(commands: Commands, topic: str, said: str) -> None:
    outcome = commands.train("--help", topic)
    assert outcome.code == 0, outcome.err
    assert said in outcome.out
    refused = commands.train("--help", "hydra.sweeper.n_trails").refusal()
    assert refused.endswith("did you mean '--help hydra.sweeper.n_trials'?\n")


def test_own_choices_are_no_lessons_and_have_their_own_meanings(commands: Commands) -> None:
    own = commands.folder / "own"
    for group, name, text in (
        ("experiment", "mine", "name: mine\n"),
        ("model", "net", "# A network of two\n# layers.\n_target_: mine.Net\nwidth: 3\n"),
    ):
        (own / group).mkdir(parents=True)
        (own / group / f"{name}.yaml").write_text(text)
    lessons = len(list((CONF / "experiment").glob("*.yaml")))
    assert f"mine; or one of {lessons} lessons" in commands.train("--config-dir", "own", "--help").out
    help_text = commands.train("--config-dir", "own", "--help", "model.width", "model").out
    assert "with model=transformer: numbers at each" in help_text
    assert "A network of two layers." in help_text


def test_no_description_of_a_choice_is_cut() -> None:
    for path in CONF.glob("*/*.yaml"):
        assert description(path).endswith(".") or description(path) == header(path), path


def test_words_of_the_output_are_not_settings_but_explained_somewhere(commands: Commands) -> None:
    page = (REPOSITORY / "docs" / "run_folder.md").read_text().partition("## layers.csv")[2].partition("\n## ")[0]
    quantities = re.findall(r"`(\w+)`", "\n".join(row.split("|")[1] for row in page.splitlines() if row[:3] == "| `"))
    assert {*TABLE, *quantities} - {"loss"} <= set(EXPLAINED)
    for name in EXPLAINED.values():
        assert (REPOSITORY / name.rpartition("see ")[2]).is_file()
    for words, page in (
        ("dead", "run_folder"),
        ("dead units", "verdicts"),
        ("Stuck", "verdicts"),
        ("twins", "run_folder"),
    ):
        outcome = commands.train("--help", *words.split())
        assert outcome.code == 0
        assert re.fullmatch(rf"'{words.lower()}' is not a setting, but .*; see docs/{page}\.md\n", outcome.out)
    assert commands.train("--help", "optimizer", "init").code == 0
