"""Figures of comparisons of many shapes: every axis says what it is, a group looks the same everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from experiments.comparison.curves import curves
from experiments.comparison.drawing import DrawnFigure, merged
from experiments.comparison.histograms import first_and_last
from experiments.comparison.report import Report
from experiments.figures import palette
from experiments.figures.svg import saved
from tests.comparison.shapes import Shape, report_of, write_layers
from tests.helpers import thinned

LONG = ("$x$", "$\\frac{", "a_b^c", *(f"a_name_that_goes_on_and_on_and_never_ends_{number}" for number in range(13)))
SHAPES = {
    "one epoch": Shape({}, seeds=1, epochs=1),
    "long names": Shape({"model.activation": LONG}, seeds=1),
    "ten layers": Shape({"model.dropout": (0.0, 0.5)}, layers=[*(f"hidden{n}" for n in range(1, 11)), "head"]),
    "absent layers": Shape({"model.batch_norm": (True, False)}),
    "constant": Shape({"model.dropout": (0.0, 0.2, 0.4)}, constant=True),
    "a search": Shape({"optimizer.lr": [10 ** (-number / 8) for number in range(40)]}, seeds=1),
}


@pytest.mark.parametrize("group", ["", "histograms/"], ids=["earlier version", "this version"])
def test_histograms_are_read_under_both_names(tmp_path: Path, group: str) -> None:
    writer = EventFileWriter(str(tmp_path))
    for step, counts in ((0, [1, 2]), (3, [5, 0]), (1, [9, 9])):
        drawn = HistogramProto(min=-1, max=1, bucket_limit=[0, 1], bucket=counts)
        values = [Summary.Value(tag=f"{group}{kind}/head", histo=drawn) for kind in ("activations", "weights")]
        writer.add_event(Event(step=step, summary=Summary(value=values)))
    writer.close()
    first, last = first_and_last(tmp_path)
    assert list(first) == list(last) == ["head"]
    assert first["head"].counts.tolist() == [1, 2]
    assert last["head"].counts.tolist() == [5, 0]


def figures_of(report: Report) -> list[DrawnFigure]:
    """All figures of a comparison."""
    return list(report.figures(curves([line.group for line in report.drawn]), report.styles()))


@pytest.mark.slow
@pytest.mark.parametrize("name", thinned(SHAPES))
def test_every_axis_has_a_label(name: str, tmp_path: Path) -> None:
    with palette.drawing():
        report = report_of(tmp_path, SHAPES[name])
        drawn = figures_of(report)
        assert {"curves_epoch", "layers_last", "layers_gradient_norm", "histograms_end"} <= {d.name for d in drawn}
        for found in drawn:
            assert saved(found.figure, "svg").startswith(b"<?xml")
            for axes in found.figure.axes:
                bar = axes.get_label() == "<colorbar>"
                assert axes.get_xlabel() or bar, found.name
                ticks = [tick.get_text() for tick in axes.get_yticklabels() if tick.get_text()]
                assert axes.get_ylabel() or ticks or found.name.startswith(("layers", "histograms")), found.name
            texts = [text for axes in found.figure.axes for text in axes.get_xticklabels() if text.get_visible()]
            assert not any("mathdefault" in text.get_text() for text in texts if found.name != "curves_seconds")


@pytest.mark.slow
def test_nothing_is_drawn_beyond_the_edge(tmp_path: Path) -> None:
    with palette.drawing():
        for found in figures_of(report_of(tmp_path, SHAPES["absent layers"])):
            saved(found.figure, "png")
            box, size = found.figure.get_tightbbox(), found.figure.get_size_inches()
            assert box.x0 >= -0.02, found.name
            assert box.y0 >= -0.02, found.name
            assert box.x1 <= size[0] + 0.02, found.name
            assert box.y1 <= size[1] + 0.02, found.name


@pytest.mark.slow
def test_groups_that_are_drawn_differ_and_keep_their_colour(tmp_path: Path) -> None:
    report = report_of(tmp_path, SHAPES["a search"])
    styles = report.styles()
    names = [line.group.name for line in report.drawn]
    assert len(styles) == 40
    assert len({styles[name] for name in names}) == len(names) == 16
    with palette.drawing():
        drawn = {found.name: found.figure for found in figures_of(report)}
    colors = [styles[name].color for name in names]
    assert [line.get_color() for line in drawn["layers_last"].axes[0].get_lines()] == colors
    assert [line.get_color() for line in drawn["curves_epoch"].axes[0].get_lines()] == colors
    assert [handle.get_color() for handle in drawn["layers_last"].legends[0].get_lines()] == colors


def test_layers_that_some_models_lack_keep_their_positions() -> None:
    assert merged([["one", "head"], ["one", "two", "head"], ["zero", "one"]]) == ["zero", "one", "two", "head"]


def test_a_broken_event_file_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    write_layers(tmp_path, ["hidden1", "head"], 2, 0.5)
    path = next(tmp_path.glob("events*"))
    whole = path.read_bytes()
    first, last = first_and_last(tmp_path)
    assert list(first) == list(last) == ["hidden1", "head"]
    assert last["head"].edges.tolist() == [-1, 0, 1, 3]
    for content in (whole[:-7], whole[: len(whole) // 2] + b"\xff" * 100, whole + b"\xff" * 100, b"", b"\xff" * 1000):
        path.write_bytes(content)
        first_and_last(tmp_path)
    path.write_bytes(whole[:-7])
    assert list(first_and_last(tmp_path)[1]) == ["hidden1"]
