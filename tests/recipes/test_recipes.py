"""Every recipe has a claim that its runs support, and a band that rejects a planted wrong result."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from experiments import UserError, compose, train
from experiments.assembly.targets import located
from experiments.common.conf import conf_folder
from experiments.recipes._running import RecipeTask, run_recipe
from experiments.recipes.courses import COURSES, lessons_of, present_lesson
from experiments.recipes.listing import plan
from experiments.recipes.recipe import recipes, selected
from tests.helpers import REPOSITORY, Commands, run_folders, sampled, summary

KNOWN = recipes([conf_folder()])
TRAINING = [name for name, recipe in KNOWN.items() if recipe.trains]
FAST = {name: recipe for name, recipe in KNOWN.items() if recipe.tier == "fast"}
DEAR = {
    "activation_spread",
    "batch_norm_noise",
    "batch_norm_single",
    "covariate_shift",
    "feature_scaling",
    "he_signal_30_layers",
    "jacobian_singular_values",
    "language_model",
    "large_weights",
    "batch_norm_and_dropout",
    "batch_norm_order",
    "best_epoch_flatters",
    "cnn_inputs",
    "small_weights_shallow",
    "split_bug",
    "annealing",
    "autoencoder",
    "babysitting",
    "batch_norm_initializers",
    "batch_norm_rate",
    "batch_norm_scales",
    "batch_sizes",
    "centred_inputs",
    "dropout_ensemble",
    "ensemble",
    "high_bias",
    "high_variance",
    "learning_rates",
    "optimizer_speed",
    "overfit_twenty",
    "update_ratio",
    "zero_biases",
    "zero_weights",
    "gradient_through_time",
    "many_labels",
    "sine_regression",
}
"""Recipes that take more than 1.4 seconds: `make test-all` runs them."""
PLANTED = {
    "activation_spread",
    "adagrad_rates",
    "adam_bias_correction",
    "batch_norm_identity",
    "batch_norm_noise",
    "batch_norm_single",
    "cross_validation",
    "dropout_keep_or_drop",
    "dropout_scaled_at_test",
    "feature_scaling",
    "gradient_check",
    "he_signal_30_layers",
    "initial_loss",
    "jacobian_singular_values",
    "linear_boundaries",
    "log_draws",
    "nesterov",
    "quadratic",
    "quadratic_coefficients",
    "random_beats_grid",
    "sgd_zigzag",
    "sigmoid_log_zero",
    "small_weights_vanish",
    "softmax_hardmax",
    "tanh_saturates",
    "xavier_fails_with_relu",
}
"""The planted wrong results that `make test` runs too: those of about a second."""


def measured(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, sabotage: bool
) -> tuple[dict[str, float], bool]:
    """The values that a recipe measures, and whether they support its claim."""
    monkeypatch.chdir(folder)
    result = run_recipe(RecipeTask(name, FAST[name], folder / "runs", folder / "log", sabotage=sabotage))
    assert result.error is None, result.error
    assert result.holds is not None
    return dict(result.values), result.holds


@pytest.mark.parametrize("name", TRAINING)
def test_a_recipe_names_its_initial_weights_and_its_optimizer(name: str) -> None:
    """Other defaults must not change what a claim was measured with."""
    content = yaml.safe_load((conf_folder() / "experiment" / f"{name}.yaml").read_text())
    assert {"override /init", "override /optimizer"} <= {key for entry in content["defaults"] for key in entry}


@pytest.mark.slow
@pytest.mark.parametrize("name", sampled(FAST, set(FAST) - DEAR))
def test_the_claim_holds(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values, holds = measured(name, tmp_path, monkeypatch, sabotage=False)
    assert holds, values


@pytest.mark.slow
@pytest.mark.parametrize("name", sampled(FAST, PLANTED))
def test_a_planted_wrong_result_is_rejected(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert FAST[name].sabotage, "a fast recipe has a sabotage"
    values, holds = measured(name, tmp_path, monkeypatch, sabotage=True)
    assert not holds, values


LESSON = """
# @package _global_
# An own lesson
name: own
model: {{hidden: [12]}}
data: {{limit: 96}}
training: {{epochs: 2}}
observers: {{tensorboard: {{enabled: false}}, pictures: {{enabled: false}}}}
recipe:
  claim: Two epochs are two rows
  source: this test
  basis: counting
  tier: fast
  trains: {trains}
  lesson: {lesson}
  band: {band}
  sabotage: [{sabotage}]
"""
MODULE = """
from matplotlib.figure import Figure

from experiments.recipes.measured import Measured


def rows(runs, plus: int = 0):
    return Measured({"rows": len(runs[0].history["epoch"]) + plus, "runs": len(runs)}, Figure)


def nothing():
    return Measured({"rows": 2.0}, Figure)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A folder with an own recipe, and the module of its lesson."""
    (tmp_path / "own_lessons.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))

    def write(
        lesson: str = "own_lessons.rows",
        band: str = "{rows: [2, 2]}",
        trains: str = "true",
        more: str = "",
        sabotage: str = "training.epochs=1",
    ) -> Path:
        path = tmp_path / "conf" / "experiment" / "own.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(LESSON.format(lesson=lesson, band=band, trains=trains, sabotage=sabotage) + more)
        return tmp_path / "conf"

    return write


@pytest.mark.slow
def test_a_users_recipe_runs_and_is_shown(commands: Commands, own: Callable[..., Path]) -> None:
    done = commands.type("reproduce", "own", f"config_dir={own()}")
    assert done.code == 0, done.err
    assert "own: holds" in done.out
    assert "Two epochs are two rows" in done.out
    assert "1 of 1 claims hold" in done.out
    kept = json.loads((commands.folder / "outputs" / "gallery" / "own.json").read_text())
    assert kept["values"] == {"rows": 2, "runs": 1}
    assert Path(kept["folder"], "metrics.csv").exists()
    assert Path(kept["folder"]).parent == Path("outputs", "reproduce", "own")
    page = (commands.folder / "outputs" / "gallery" / "index.html").read_text()
    assert "Two epochs are two rows" in page
    assert "<svg" in page


@pytest.mark.slow
def test_a_claim_that_does_not_hold_is_shown_as_such(commands: Commands, own: Callable[..., Path]) -> None:
    done = commands.type("reproduce", "own", f"config_dir={own(band='{rows: [3, null], runs: [1, 1]}')}")
    assert done.code == 1
    assert "own: does not hold" in done.out
    assert [line.split() for line in done.out.splitlines() if "at least 3" in line] == [
        ["rows", "2", "at", "least", "3", "NO"]
    ]
    assert "0 of 1 claims hold\ndoes not hold: own\n" in done.out
    table = (commands.folder / "outputs" / "gallery" / "reproduction.md").read_text()
    assert "| own | fast | rows | at least 3 | 2 | NO |" in table


@pytest.mark.slow
def test_a_stricter_variant_is_shown_and_does_not_decide(commands: Commands, own: Callable[..., Path]) -> None:
    done = commands.type("reproduce", "own", f"config_dir={own(more='  stricter: {runs: [2, null]}')}")
    assert done.code == 0
    assert [line.split() for line in done.out.splitlines() if "at least 2" in line] == [
        ["runs", "1", "at", "least", "2", "NO", "(stricter)"]
    ]
    table = (commands.folder / "outputs" / "gallery" / "reproduction.md").read_text()
    assert "| own | fast | runs | at least 2 | 1 | NO (stricter) |" in table


@pytest.mark.slow
def test_a_failed_recipe_keeps_its_last_result_in_the_gallery(commands: Commands, own: Callable[..., Path]) -> None:
    assert commands.type("reproduce", "own", f"config_dir={own()}").code == 0
    failed = commands.type("reproduce", "own", f"config_dir={own()}", "optimizer=adm")
    assert failed.code == 2
    assert "unknown optimizer 'adm'; choose from " in failed.out
    assert json.loads((commands.folder / "outputs" / "gallery" / "own.json").read_text())["holds"] is True


@pytest.mark.slow
def test_a_sabotage_that_is_not_rejected_is_named(commands: Commands, own: Callable[..., Path]) -> None:
    folder = own(sabotage="recipe.settings.plus=1")
    done = commands.type("reproduce", "own", f"config_dir={folder}", "sabotage=true")
    assert (done.code, "1 of 1 planted results were rejected" in done.out) == (0, True)
    folder = own(sabotage="optimizer.lr=0.5")
    done = commands.type("reproduce", "own", f"config_dir={folder}", "sabotage=true")
    assert (done.code, "not rejected: own" in done.out) == (1, True)
    assert not (commands.folder / "outputs").exists()


@pytest.mark.slow
def test_a_lesson_without_runs_trains_nothing(commands: Commands, own: Callable[..., Path]) -> None:
    folder = own("own_lessons.nothing", trains="false")
    assert commands.type("reproduce", "own", f"config_dir={folder}").code == 0
    assert not run_folders(commands.folder)
    done = commands.train("experiment=own", "--config-dir", str(folder))
    assert done.code == 2
    assert "experiment=own trains no run; start it with python -m experiments.reproduce own" in done.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"band": "{}"}, "recipe lacks band (the values that support the claim). For example: claim: "),
        (
            {"sabotage": ""},
            "lacks sabotage (overrides that plant a wrong result, which the band must reject). For exam",
        ),
        ({"band": "{rows: [null, null]}"}, "leaves a quantity without a bound"),
        ({"band": "{lines: [1, 2]}"}, "has 'lines', which own_lessons.rows does not measure"),
        ({"lesson": "own_lessons.row"}, "recipe.lesson"),
        ({"trains": "false"}, "recipe.trains=false of own is wrong: own_lessons.rows takes runs"),
        ({"more": "  tear: fast\n"}, "did you mean 'tier'?"),
        ({"more": "  settings: {minus: 1}\n"}, "unknown setting 'recipe.settings.minus' of rows; choose from plus"),
    ],
)
def test_an_invalid_recipe_is_refused_in_a_sentence(
    commands: Commands, own: Callable[..., Path], settings: dict[str, str], sentence: str
) -> None:
    done = commands.type("reproduce", "own", f"config_dir={own(**settings)}")
    assert done.code == 2
    assert sentence in done.out + done.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["zero_weihgts"], "unknown recipe 'zero_weihgts'; choose from "),
        (["zero_weihgts"], "did you mean 'zero_weights'?"),
        (["tier=quick"], "tier='quick' should"),
        (["tier=mnist", "zero_weights"], "tier=mnist does not contain zero_weights; leave out tier=mnist\n"),
        (["jobs=0"], "jobs=0 should"),
        (["course=cs231"], "course='cs231' should"),
        (["course=scratch", "zero_biases"], "course=scratch does not contain zero_biases; leave out course=scratch\n"),
        (
            ["course=cs231n", "tanh_saturates", "batch_norm_scales"],
            "course=cs231n does not contain batch_norm_scales; leave out batch_norm_scales or course=cs231n\n",
        ),
        (
            ["tier=fast", "zero_weights", "keras_mlp"],
            "tier=fast does not contain keras_mlp; leave out keras_mlp or tier=fast\n",
        ),
        (["course=scratch", "tier=long"], "course=scratch tier=long contains no recipe; use tier=all\n"),
        (["-m"], "unknown option '-m' of reproduce"),
    ],
)
def test_bad_arguments_are_refused_in_one_sentence(commands: Commands, words: list[str], sentence: str) -> None:
    done = commands.type("reproduce", *words)
    assert done.code == 2
    assert sentence in done.err
    assert not (commands.folder / "outputs").exists()


@pytest.mark.slow
def test_a_recipe_is_a_configuration_like_any_other(commands: Commands) -> None:
    done = commands.train("experiment=zero_weights", "training.epochs=1", "seed=0", "data.limit=96")
    assert done.code == 0, done.err
    assert "2 runs in 1 stack" in done.out
    (folder,) = (commands.folder / "outputs" / "zero_weights").iterdir()
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"00_init=zeros", "01_init=xavier"}
    shutil.rmtree(folder / "00_init=zeros")
    again = ["experiment=zero_weights", "training.epochs=1", "seed=0", "data.limit=96", "resume=latest"]
    done = commands.train(*again)
    assert done.code == 0, done.err
    assert "1 of these ended before" in done.out
    assert commands.train(f"resume={folder / '01_init=xavier'}", "training.epochs=2").code == 0
    assert summary(folder / "01_init=xavier")["epochs"] == 2


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("zero_weights", "is a sweep over init, seed; compose its runs one by one"),
        ("nesterov", "experiment=nesterov trains no run; start it with python -m experiments.reproduce nesterov"),
    ],
)
def test_a_recipe_that_is_not_one_run_is_refused_in_a_notebook(
    name: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=sentence):
        train(compose(f"experiment={name}"))
    assert not list(tmp_path.rglob("metrics.csv"))


def test_the_documented_misses_quote_the_claims() -> None:
    text = (REPOSITORY / "docs" / "reproduction.md").read_text()
    misses = re.findall(r"^- `(\w+)`(?: has not been measured)?: (.*)$", text, re.MULTILINE)
    assert misses
    for name, line in misses:
        assert line.startswith(f"{KNOWN[name].claim}."), name


def test_every_lesson_is_in_a_course_and_courses_name_only_lessons() -> None:
    listed = {name for course in COURSES for name in lessons_of(course)}
    assert listed == set(KNOWN)
    for course in COURSES:
        assert len(set(lessons_of(course))) == len(lessons_of(course)), course


def test_a_course_gives_its_lessons_in_its_order() -> None:
    chosen = list(selected(KNOWN, [], "fast", "scratch"))
    assert chosen[:3] == ["sigmoid_log_zero", "gradient_check", "sgd_zigzag"]
    assert list(selected(KNOWN, ["zero_weights", "sgd_zigzag"], None, "scratch")) == ["sgd_zigzag", "zero_weights"]


def test_the_help_of_a_course_lists_its_sections_and_lessons_in_order(commands: Commands) -> None:
    (commands.folder / "outputs" / "gallery").mkdir(parents=True)
    (commands.folder / "outputs" / "gallery" / "sgd_zigzag.json").write_text('{"seconds": 2.5}')
    text = commands.type("reproduce", "course=scratch", "--help").out
    sections = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    assert sections == list(COURSES["scratch"])
    assert re.findall(r"^  (\w+)  +\S", text, re.MULTILINE) == lessons_of("scratch")
    whole = " ".join(text.split())
    assert f"sgd_zigzag {KNOWN['sgd_zigzag'].claim} (2.5 s, tier=fast)" in whole
    assert f"keras_mlp {KNOWN['keras_mlp'].claim} (tier={KNOWN['keras_mlp'].tier})" in whole


@pytest.mark.parametrize(
    ("names", "jobs", "sentence"),
    [
        (["sgd_zigzag", "zero_weights"], 2, "2 lessons, 2 at a time: about 5 s"),
        (["sgd_zigzag", "zero_weights"], 1, "2 lessons, one after another: about 10 s"),
        (list(selected(KNOWN, [], "fast"))[:40], 1, "40 lessons, one after another: about 3 minutes"),
        (
            ["sgd_zigzag", "keras_mlp"],
            1,
            "2 lessons, one after another: those of tier=mnist take minutes each, or longer; the others about 6 s",
        ),
        (
            ["keras_mlp", "fine_tuning"],
            2,
            "2 lessons, 2 at a time: those of tier=mnist take minutes each, or longer",
        ),
    ],
)
def test_the_plan_of_a_call_uses_the_times_of_the_last_results(
    tmp_path: Path, names: list[str], jobs: int, sentence: str
) -> None:
    (tmp_path / "sgd_zigzag.json").write_text('{"seconds": 6.0}')
    assert plan({name: KNOWN[name] for name in names}, jobs, tmp_path) == sentence


def test_the_documentation_lists_the_courses_in_their_order() -> None:
    text = (REPOSITORY / "docs" / "lessons.md").read_text()
    assert re.findall(r"^`course=(\w+)` runs", text, re.MULTILINE) == list(COURSES)
    rows = re.findall(r"^\| ([^|]+) \| (`\w+`(?:, `\w+`)*) \|$", text, re.MULTILINE)
    listed = [(section, lessons.replace("`", "").split(", ")) for section, lessons in rows]
    assert listed == [(section, list(names)) for sections in COURSES.values() for section, names in sections.items()]


def test_earlier_names_still_resolve() -> None:
    assert list(selected(KNOWN, ["random_search", "random_over_grid"], None)) == ["random_hits", "random_beats_grid"]
    for earlier in ("normalization.noise", "normalizing.sigmoids", "scales.signal", "scaling.feature_scaling"):
        assert callable(located({"_target_": present_lesson(f"experiments.lessons.{earlier}")}, "recipe.lesson"))


@pytest.mark.slow
def test_a_course_has_a_page_of_its_own_in_its_order(commands: Commands) -> None:
    names = ["quadratic_coefficients", "quadratic", "softmax_hardmax", "sgd_zigzag"]
    done = commands.type("reproduce", *names, "course=specialization", "jobs=1")
    assert done.code == 0, done.err
    assert "course  specialization: Course 2, week 3: Programming frameworks" in done.out
    page = (commands.folder / "outputs" / "gallery" / "specialization.html").read_text()
    titles = ["Sgd zigzag", "Softmax hardmax", "Quadratic", "Quadratic coefficients"]
    found = [page.index(f"{title}: holds") for title in titles]
    assert found == sorted(found)
    count = len(lessons_of("specialization"))
    assert f"4 of the course&#39;s {count} lessons measured; 4 of 4 claims hold" in page
    headings = re.findall(r'<h2 id="table-\d+-title">(.*?)</h2>', page)
    assert headings == list(COURSES["specialization"])


@pytest.mark.parametrize("name", KNOWN)
def test_a_recipe_has_the_name_of_its_file(name: str) -> None:
    content = yaml.safe_load((conf_folder() / "experiment" / f"{name}.yaml").read_text())
    assert content["name"] == name
    assert all(KNOWN[name].lesson.startswith("experiments.lessons.") for name in KNOWN)
