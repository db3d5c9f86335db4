"""What the page of a comparison shows: what was trained, curves first, what happened to groups without a result."""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.common.metrics import Metric
from experiments.comparison import drawing
from experiments.comparison._shared import written
from experiments.comparison._words import signed
from experiments.comparison.curves import curve_of, curves
from experiments.comparison.histograms import Histogram
from experiments.comparison.options import CompareOptions
from experiments.comparison.report import Report
from experiments.comparison.running import create_report
from experiments.comparison.statistics import chance
from experiments.figures import palette
from experiments.folders.reading import Reader
from tests.comparison.planted import compared, plant, plant_all, rows_of
from tests.comparison.shapes import Shape, write
from tests.helpers import Commands

plain = pytest.mark.usefixtures("undrawn")


def reported(folder: Path, **options: Any) -> Report:
    """What a comparison of the runs in a folder writes."""
    return create_report(Reader([folder]).read(), CompareOptions(**options))


def crossed(folder: Path, metric: str = "val/accuracy") -> None:
    """Write a crossing of three initializations and two optimizers; all runs of one combination diverged."""
    for number, init in enumerate(("small_normal", "unit_normal", "he")):
        for optimizer in ("sgd", "adam"):
            for seed in (1, 2, 3):
                lost = (init, optimizer) == ("unit_normal", "sgd")
                value = None if lost else 0.3 * number + 0.1 + 0.01 * seed + 0.005 * (seed * (number + 2) % 5)
                status = "diverged" if lost else "finished"
                given: dict[str, Any] = {"status": status, "metric": metric, "objective": metric, "init": init}
                plant(folder / f"{number}{optimizer}{seed}", value, seed=seed, optimizer=optimizer, **given)


# groups without a result


def test_the_line_of_an_interaction_is_broken_where_every_run_diverged(tmp_path: Path) -> None:
    crossed(tmp_path)
    answer = reported(tmp_path).answer
    with palette.drawing():
        figure = drawing.interaction_figure(answer, "init", "optimizer")
    assert figure.narrow is not None
    for drawn in (figure.figure, figure.narrow()):
        (axes,) = drawn.axes
        lines = {
            handle.get_label(): list(handle.lines[0].get_ydata())  # type: ignore[attr-defined]
            for handle in axes.containers
        }
        assert [math.isnan(value) for value in lines["sgd"]] == [False, True, False]
        assert not any(math.isnan(value) for value in lines["adam"])
        (mark,) = axes.texts
        assert mark.get_text() == "\u00d7 sgd: 3 diverged"
        assert mark.get_position()[0] == 1
        assert mark.get_position()[1] < 0.1
        assert axes.get_ylim()[0] < 0.1
    assert "\u00d7: no run has a result, so the line is broken." in figure.caption


def test_several_lost_groups_of_an_interaction_are_marked_without_overlaps(tmp_path: Path) -> None:
    for number in range(6):
        for optimizer in ("sgd", "adam", "momentum"):
            lost = number >= 3 and optimizer != "adam"
            for seed in range(2):
                value = None if lost else 0.3 + 0.1 * number + 0.01 * seed
                given: dict[str, Any] = {"status": "diverged"} if lost else {}
                init = f"initialization{number}"
                plant(
                    tmp_path / f"{number}{optimizer}{seed}", value, seed=seed, init=init, optimizer=optimizer, **given
                )
    answer = reported(tmp_path).answer
    with palette.drawing():
        for narrow in (False, True):
            figure = drawing.interaction(answer, "init", "optimizer", narrow=narrow)
            figure.draw_without_rendering()
            (axes,) = figure.axes
            texts = [text.get_text() for text in axes.texts]
            assert sorted(texts) == ["momentum: 2 diverged", "sgd: 2 diverged", *["\u00d7"] * 6]
            boxes = [text.get_window_extent() for text in axes.texts]
            assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
            assert [label.get_text() for label in axes.get_xticklabels()] == [f"initialization{n}" for n in range(6)]


def test_a_line_over_a_number_is_broken_where_no_run_has_a_result(tmp_path: Path) -> None:
    for number, rate in enumerate((0.01, 0.1, 1.0, 10.0)):
        if rate == 0.1:
            plant(tmp_path / "lost", status="diverged", seed=1, optimizer__lr=rate)
        else:
            plant_all(tmp_path, [0.5 + 0.1 * number], optimizer__lr=rate)
    report = reported(tmp_path)
    with palette.drawing():
        (figure,) = drawing.sensitivity_figures(report.answer.grouping, report.metric)
    _, line, mark = figure.figure.axes[0].get_lines()
    assert np.asarray(line.get_xdata()).tolist() == [0.01, 0.1, 1.0, 10.0]
    assert np.isnan(np.asarray(line.get_ydata())).tolist() == [False, True, False, False]
    assert (np.asarray(mark.get_xdata()).tolist(), mark.get_marker()) == ([0.1], "x")
    assert "\u00d7 at the bottom: no run of a setting has a result there, and the line is broken." in figure.caption


@pytest.mark.slow
def test_every_figure_names_a_group_without_a_completed_run(tmp_path: Path) -> None:
    write(tmp_path, Shape({"model.dropout": (0.0, 0.2, 0.5)}, seeds=2))
    for number in (4, 5):
        summary = json.loads((tmp_path / f"{number}" / "summary.json").read_text())
        (tmp_path / f"{number}" / "summary.json").write_text(json.dumps({**summary, "status": "diverged"}))
        (tmp_path / f"{number}" / "metrics.csv").unlink()
    report = reported(tmp_path)
    with palette.drawing():
        drawn = {d.name: d for d in report.figures(curves([row.group for row in report.drawn]), report.styles())}
    assert [text.get_text() for text in drawn["values"].figure.axes[0].texts] == ["\u00d7 2 diverged"]
    legend = [text.get_text() for text in drawn["curves_epoch"].figure.legends[0].get_texts()]
    assert legend[-1] == "model.dropout=0.5 (2 diverged)"
    lost = "Not shown, as no run completed: model.dropout=0.5 (2 diverged)."
    shown = [name for name in drawn if name.startswith("layers") or name == "histograms_end"]
    assert len(shown) >= 4
    assert all(lost in drawn[name].caption for name in shown)
    rows = [text.get_text() for text in drawn["histograms_start"].figure.axes[0].get_yticklabels()]
    assert "model.dropout=0.5 (2\ndiverged)" in rows
    assert lost not in drawn["histograms_start"].caption
    report.write(tmp_path / "comparison")
    page = (tmp_path / "comparison" / "report.html").read_text()
    assert '<span class="name">model.dropout=0.5</span> <span class="fate">(2 diverged)</span>' in page


# what was trained


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([3], "seed 3"),
        ([0, 1], "seeds 0, 1"),
        ([4, 0, 1, 2, 3], "seeds 0 to 4"),
        ([1, 3, 7], "seeds 1, 3, 7"),
        ([*range(5), *range(9, 13)], "9 seeds"),
    ],
)
def test_seeds_are_written_short(numbers: list[int], text: str) -> None:
    assert written(numbers) == text


@plain
def test_the_page_says_what_was_trained(commands: Commands) -> None:
    plant_all(commands.folder, [0.1, 0.2, 0.3], optimizer="sgd", model__activation="relu")
    plant_all(commands.folder, [0.2, 0.3, 0.5], optimizer="adam", model__activation="relu")
    compared(commands, ".")
    line = "digits (data.limit=200) \u00b7 mlp 100-100, relu \u00b7 3 epochs \u00b7 seeds 1 to 3"
    page = (commands.folder / "comparison" / "report.html").read_text()
    assert f'</h1>\n<p class="about">{line}</p>' in page
    markdown = (commands.folder / "comparison" / "report.md").read_text()
    assert markdown.split("\n\n")[1].replace("\\", "") == line


def test_only_what_all_runs_share_is_named(tmp_path: Path) -> None:
    plant_all(tmp_path, [0.1, 0.2], model__hidden=[10], training__epochs=1, without=["data.limit"])
    plant_all(tmp_path, [0.1, 0.2, 0.4], model__hidden=[20, 20], training__epochs=1, without=["data.limit"])
    assert reported(tmp_path).shared == "digits \u00b7 mlp \u00b7 1 epoch \u00b7 2 to 3 seeds per group"
    plant(tmp_path / "longer", 0.3, model__hidden=[10], training__epochs=9, training__steps=50, seed=9)
    assert reported(tmp_path, pool="training.epochs,training.steps").shared.startswith("digits \u00b7 mlp \u00b7 ")
    assert "epoch" not in reported(tmp_path, pool="training.epochs,training.steps").shared


# the order of the page


@plain
def test_the_curves_follow_the_first_sentences(commands: Commands) -> None:
    for number, optimizer in enumerate(("sgd", "adam", "rmsprop", "adamw")):
        for seed in range(1, 6):
            value = number + 0.01 * seed + 0.001 * (7 * seed * (number + 1) % 5)
            plant(commands.folder / f"{optimizer}{seed}", value, curve=[value], seed=seed, optimizer=optimizer)
    plant(commands.folder / "lost", status="diverged", seed=6, optimizer="sgd")
    said = compared(commands, ".").out
    assert said.count("\n- optimizer=sgd beats ") == 3, "the terminal has a sentence for each"
    page = (commands.folder / "comparison" / "report.html").read_text()
    folded = re.search(
        r"<p>optimizer=sgd beats optimizer=adam by \S+ \(95\s% \S+ to \S+\), optimizer=rmsprop by \S+ \(95\s% \S+ to "
        r"\S+\) and optimizer=adamw by \S+ \(95\s% \S+ to \S+\); n\s=\s5 in each comparison</p>",
        page,
    )
    assert folded is not None
    positions = [page.index('class="answer"'), folded.start(), page.index('id="curves"'), page.index("<aside")]
    assert positions == sorted(positions)
    assert positions[-1] < page.index('id="table-1"')


# tables and words


@plain
def test_speed_is_left_out_of_the_page_if_all_runs_were_trained_together(commands: Commands) -> None:
    verdicts = [{"name": "dead units"}]
    summary = {"trained_together": 4, "examples_per_second": 1234.0, "verdicts": verdicts}
    plant_all(commands.folder, [0.1, 0.2], optimizer="sgd", summary=summary)
    plant_all(commands.folder, [0.2, 0.3], optimizer="adam", summary=summary)
    note = "Seconds of runs that were trained together are those of the whole stack"
    assert note not in compared(commands, ".").out
    for word in ("target=0.15", "axis=seconds"):
        assert f"note: {note}\n" in compared(commands, ".", word).out
    page = (commands.folder / "comparison" / "report.html").read_text()
    titles = re.findall(r'<th scope="col" class="\w+"><button type="button">([^<]+)</button>', page)
    assert "examples/s" not in page
    assert titles[:7] == ["group", "letters", "n", "mean", "95 % interval", "verdicts", "std"]
    assert {row["examples_per_second"] for row in rows_of(commands.folder, "runs")} == {"1234.0"}
    plant(commands.folder / "alone", 0.3, optimizer="adam", seed=3, summary={"examples_per_second": 5.0})
    compared(commands, ".")
    page = (commands.folder / "comparison" / "report.html").read_text()
    assert "Seconds and examples per second of runs that were trained together" in page
    assert "examples/s" in page


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0497, "0.0497"),
        (0.04996, "0.04996"),
        (0.0499999, "< 0.05"),
        (0.05, "0.050"),
        (0.0503, "0.050"),
        (0.0494, "0.049"),
        (0.0004, "< 0.001"),
        (0.12345, "0.12"),
        (None, "-"),
    ],
)
def test_a_p_value_is_on_its_side_of_the_level(p: float | None, text: str) -> None:
    assert chance(p) == text


def test_a_p_value_has_one_sign() -> None:
    assert [signed(chance(p)) for p in (0.0499999, 0.0497)] == ["< 0.05", "= 0.0497"]


@plain
def test_equal_values_have_a_reason_instead_of_an_interval(commands: Commands) -> None:
    plant_all(commands.folder, [0.5, 0.5, 0.5], optimizer="sgd")
    plant_all(commands.folder, [0.7], optimizer="adam")
    said = compared(commands, ".").out
    rows = {line.split()[0]: line for line in said.splitlines() if line.startswith("optimizer=")}
    assert re.search(r" 0\.5 +all equal +3 finished", rows["optimizer=sgd"])
    assert re.search(r" 0\.7 +- +1 finished", rows["optimizer=adam"])
    assert "optimizer=sgd has the best mean val/loss, 0.5 (n = 3, all equal)" in said
    assert "| all equal |" in (commands.folder / "comparison" / "report.md").read_text()
    assert '<span class="name">all equal</span>' in (commands.folder / "comparison" / "report.html").read_text()


@plain
def test_shares_that_need_not_sum_to_100_percent_say_why(commands: Commands) -> None:
    crossed(commands.folder)
    said = compared(commands, ".").out
    reason = (
        "type II, as some runs are missing; each is what a choice adds to the others, so they need not sum to 100 %"
    )
    assert f"- Shares of the variance ({reason}): init " in said


@plain
def test_intervals_of_accuracies_hold_only_possible_values(commands: Commands) -> None:
    for optimizer, values in (("sgd", (0.95, 1.0)), ("adam", (0.0, 0.1))):
        for seed, value in enumerate(values):
            more: dict[str, Any] = {
                "metric": "val/accuracy",
                "objective": "val/accuracy",
                "curve": [value],
                "optimizer": optimizer,
            }
            plant(commands.folder / f"{optimizer}{seed}", value, seed=seed, **more)
    said = compared(commands, ".").out
    assert re.search(r"97\.50 % +\d\d\.\d\d to 100\.00 ", said)
    assert re.search(r"5\.00 % +0\.00 to \d\d\.\d\d ", said)
    ends = [float(row[end]) for row in rows_of(commands.folder) for end in ("low", "high")]
    assert all(0 <= end <= 1 for end in ends)
    ends = [float(row[end]) for row in rows_of(commands.folder, "curves") for end in ("low", "high")]
    assert ends
    assert all(0 <= end <= 1 for end in ends)
    ends = [float(row[end]) for row in rows_of(commands.folder, "differences") for end in ("low", "high")]
    assert ends
    assert all(-1 <= end <= 1 for end in ends)


def test_intervals_of_a_loss_are_not_cut() -> None:
    assert Metric("val/loss").possible(-1.0, 3.0) == (-1.0, 3.0)
    assert Metric("val/accuracy").possible(-1.0, 3.0) == (0.0, 1.0)


def test_the_band_of_a_loss_reaches_below_0(tmp_path: Path) -> None:
    for seed, value in enumerate((0.0, 2.0)):
        plant(tmp_path / f"{seed}", value, seed=seed, curve=[value])
    (group,) = reported(tmp_path).answer.grouping.groups
    curve = curve_of(group, "val/loss")
    assert curve is not None
    assert curve.low[0] < 0


# figures


def histogram(reach: float) -> Histogram:
    """A histogram from 0 to some number."""
    return Histogram(np.linspace(0, reach, 5), np.array([4.0, 3.0, 2.0, 1.0]))


@pytest.mark.parametrize(("reach", "own"), [(99.0, False), (2e6, True)])
def test_histograms_of_very_different_ranges_have_their_own_axes(reach: float, own: bool) -> None:
    found = {"one": {"hidden1": histogram(1.0)}, "other": {"hidden1": histogram(reach)}}
    with palette.drawing():
        figure = drawing.histograms_figure(found, dict(zip(found, palette.styles(2), strict=True)), "h", "at the end")
    assert figure is not None
    assert figure.narrow is not None
    said = "The ranges of the groups differ more than 100 times, so each histogram has an axis of its own"
    assert (said in figure.caption) is own
    for drawn, names in ((figure.figure, 0), (figure.narrow(), 2)):
        (axes,) = drawn.axes
        widths = [float(patch.get_extents().width) for patch in axes.patches]
        assert (min(widths) > 0.5 * max(widths)) is own
        assert len(axes.texts) == names + 2 * own
        if own:
            assert {"0 to 1", "0 to 2e+06"} <= {text.get_text() for text in axes.texts}


@pytest.mark.slow
@pytest.mark.parametrize(("key", "first"), [("init.std", True), ("model.dropout", False)])
def test_histograms_before_training_come_first_for_initializations(key: str, first: bool, tmp_path: Path) -> None:
    write(tmp_path, Shape({"model.dropout": (0.0, 0.2)}, seeds=1))
    if key != "model.dropout":
        for path in tmp_path.glob("*/.hydra/config.yaml"):
            path.write_text(path.read_text().replace("model:\n  dropout: ", "model: {}\ninit:\n  std: "))
    report = reported(tmp_path)
    report.write(tmp_path / "comparison")
    page = (tmp_path / "comparison" / "report.html").read_text()
    assert (page.index(">Histograms of activations, before training</h2>") < page.index('id="table-1"')) is first
    assert page.index('id="curves"') < page.index(">Histograms of activations, before training</h2>")


def test_an_empty_cell_of_heat_maps_has_no_axis() -> None:
    tables = {f"group {number}": {"hidden1": {0: 1.0, 1: 10.0}, "head": {0: 2.0, 1: 30.0}} for number in range(5)}
    with palette.drawing():
        figure = drawing.panels(tables, "norm of the gradient", log=True)
    assert figure is not None
    first, *others = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    ends = [axes.spines["bottom"].get_position()[1] for axes in (first, *others)]
    assert ends[0] == pytest.approx(first.get_ylim()[0])
    assert ends[1:] == [2.0] * 3, "the axis is below the last panel of its column"


@pytest.mark.parametrize(("low", "high"), [(1e-9, 1e5), (0.002, 7.0), (1e-300, 1e300), (0.02, 0.9)])
def test_the_scale_of_a_phone_has_few_numbers(low: float, high: float) -> None:
    ticks = drawing.few_decades(low, high)
    assert 2 <= len(ticks) <= 4
    assert all(low * 0.9 <= tick <= high * 1.1 for tick in ticks)


def test_words_below_an_axis_are_turned_and_not_broken(tmp_path: Path) -> None:
    crossed(tmp_path)
    answer = reported(tmp_path).answer
    with palette.drawing():
        figure = drawing.interaction(answer, "init", "optimizer", narrow=True)
    labels = figure.axes[0].get_xticklabels()
    assert [label.get_text() for label in labels] == ["small_normal", "unit_normal", "he"]
    assert {label.get_rotation() for label in labels} == {30.0}
