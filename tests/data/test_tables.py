"""Tables in csv files: what becomes of them, and what is refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.data.forms import TableForm
from experiments.data.tables import csv, rows
from tests.helpers import SMALL, Commands, summary

ROWS = [f"{i},{i / 4:.2f},{'red green blue'.split()[i % 3]},{i % 2 == 0},{'no' if i % 2 else 'yes'}" for i in range(40)]  # noqa: SIM905
HEADER = "number,share,colour,even,answer"


def written(folder: Path, *lines: str, name: str = "t.csv") -> str:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


GAPS = "x,note,y\n" + "".join(
    f"{k if k % 4 else ''},{'' if k % 3 else 'red' if k % 2 else 'blue'},{'' if k in (5, 6) else k % 2}\n"
    for k in range(24)
)
"""A table with missing numbers, texts and targets."""


def test_missing_texts_are_a_category_of_their_own_and_rows_without_a_target_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "gaps.csv"
    path.write_text(GAPS)
    with pytest.raises(
        ValueError, match=r"target='y' is missing in row 6 of .* leave such rows out with data.missing_targ"
    ):
        csv(str(path), "y", missing="mean")
    whole = csv(str(path), "y", missing="mean", missing_target="drop")
    source = csv(str(path), "y", missing="category", missing_target="drop")
    assert source.notes[:2] == (
        "gaps.csv has no 'y' in 2 of 24 rows, which are left out",
        "gaps.csv has 21 missing cells, filled in by data.missing=category",
    )
    assert [use.note for use in source.columns] == [
        "6 of 22 cells missing: filled in by the mean",
        "15 of 22 cells missing: a feature of their own",
    ]
    assert whole.columns[1].note == (
        "15 of 22 cells missing: filled in by the frequencies of the texts; data.missing=category gives them a feature"
    )
    assert isinstance(source.form, TableForm)
    assert source.form.columns[1].texts == ("blue", "red", "(missing)")
    assert whole.x_train.shape[1] + 1 == source.x_train.shape[1] == 4
    assert (source.x_train[:, 1:].sum(1) == 1).all()
    new = tmp_path / "new.csv"
    new.write_text("x,note\n1,\n,red\n")
    x, _ = rows(str(new), source.form)
    assert x[0].tolist() == [1, 0, 0, 1]
    assert x[1, 0].isnan()
    assert x[1, 1:].tolist() == [0, 1, 0]


def test_numbers_stay_and_texts_become_one_hot(tmp_path: Path) -> None:
    source = csv(written(tmp_path, HEADER, *ROWS), "answer")
    x, y = torch.cat([source.x_train, source.x_test]), torch.cat([source.y_train, source.y_test])
    assert (x.shape, len(source.x_test), source.classes) == ((40, 6), 8, ["no", "yes"])
    order = x[:, 0].argsort()
    x, y = x[order], y[order]
    assert torch.equal(x[:, 0], torch.arange(40.0))
    torch.testing.assert_close(x[:, 1], torch.arange(40) / 4)
    colours = torch.tensor([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])  # blue, green, red
    assert torch.equal(x[:, 2:5], colours[torch.arange(40) % 3])
    assert torch.equal(x[:, 5], (torch.arange(40) % 2 == 0).float())
    assert torch.equal(y, (torch.arange(40) % 2 == 0).long())


def test_the_test_part_is_stratified_and_the_same_every_time(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER, *ROWS)
    one, same = csv(path, "answer", test_fraction=0.25), csv(path, "answer", test_fraction=0.25)
    assert torch.equal(one.x_test, same.x_test)
    assert torch.bincount(one.y_test).tolist() == [5, 5]


def test_a_second_table_is_the_test_part(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER, *ROWS[:30])
    columns = "answer,even,colour,share,number"
    turned = [",".join(reversed(row.split(","))) for row in ROWS[30:]]
    source = csv(path, "answer", test_path=written(tmp_path, columns, *turned, name="test.csv"))
    assert torch.equal(source.x_test[:, 0], torch.arange(30.0, 40))
    assert len(source.x_train) == 30


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["1", "2", "10"], ["1", "2", "10"]),
        (["1.0", "2.0", "3.0"], ["1.0", "2.0", "3.0"]),
        (["01", "1", "02"], ["01", "1", "02"]),
        (["b", "a", "10"], ["10", "a", "b"]),
        (["True", "False", "True"], ["False", "True"]),
        (["0.5", "inf", "0.25"], ["0.25", "0.5", "inf"]),
        (["1.23456781", "1.23456782", "1.23456783"], ["1.23456781", "1.23456782", "1.23456783"]),
        (["9007199254740992", "9007199254740993", "7"], ["7", "9007199254740992", "9007199254740993"]),
    ],
)
def test_classes_are_sorted_and_named(tmp_path: Path, values: list[str], names: list[str]) -> None:
    table = written(tmp_path, "x,y", *(f"{i},{values[i % 3]}" for i in range(30)))
    assert csv(table, "y", wanted="classes").classes == names


def test_bom_windows_line_ends_and_spaces(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([" a ; kind", *(f" {i} ;k{i % 2} " for i in range(12))]).encode())
    source = csv(str(path), "kind", separator=";")
    assert source.classes == ["k0", "k1"]
    assert sorted(torch.cat([source.x_train, source.x_test]).flatten().tolist()) == list(range(12))


def test_a_tab_as_it_is_typed_and_a_column_called_na(tmp_path: Path) -> None:
    source = csv(written(tmp_path, "NA\tkind", *(f"{i}\tk{i % 2}" for i in range(12))), "kind", separator="\\t")
    assert sorted(torch.cat([source.x_train, source.x_test]).flatten().tolist()) == list(range(12))
    with pytest.raises(ValueError, match=r"drop=\['NA'\] leaves no column but the target"):
        csv(str(tmp_path / "t.csv"), "kind", separator="\t", drop=["NA"])


def test_a_column_of_texts_in_one_table_is_one_in_both(tmp_path: Path) -> None:
    """The test table's column alone would be one of numbers, or of truth values."""
    train = written(tmp_path, "code,flag,kind", *(f"{'a 1 b'.split()[i % 3]},x,{i % 2}" for i in range(12)))  # noqa: SIM905
    source = csv(train, "kind", test_path=written(tmp_path, "code,flag,kind", "1,True,0", "1,True,1", name="test.csv"))
    assert source.x_test.tolist() == [[1, 0, 0, 1, 0]] * 2  # 1, a, b; True, x
    assert source.x_train[:3].tolist() == [[0, 1, 0, 0, 1], [1, 0, 0, 0, 1], [0, 0, 1, 0, 1]]


def test_a_cell_of_the_second_table_is_named_with_its_file(tmp_path: Path) -> None:
    train = written(tmp_path, "a,kind", *(f"{i},{i % 2}" for i in range(12)))
    for cell, message in (
        ("", r"missing='error': row 2 of test_path='.*test\.csv' has no 'a'"),
        ("x", r"^test_path='.*test\.csv' has numbers in column 'a', but 'x' in row 2"),
        ("-inf", r"^test_path='.*test\.csv' has -inf in row 2 of column 'a'"),
    ):
        test = written(tmp_path, "a,kind", "1,0", f"{cell},1", name="test.csv")
        with pytest.raises(ValueError, match=message):
            csv(train, "kind", test_path=test)


def test_spellings_of_numbers_and_gaps(tmp_path: Path) -> None:
    """What a whole column parses as, and what only single cells do, become the same numbers."""
    spelled = ["1", "+2", "3.0", " 4", "5 ", "6e0", '"7"', "08", ".9e1", "10."]
    plain = written(tmp_path, "a,kind", *(f"{cell},k{i % 2}" for i, cell in enumerate(spelled)))
    gaps = ["", " ", "NA", "nan", "NULL", "N/A"]
    some = written(tmp_path, "a,kind", *(f"{c},k{i % 2}" for i, c in enumerate([*spelled, *gaps])), name="gaps.csv")
    for source, missing in ((csv(plain, "kind"), 0), (csv(some, "kind", missing="mean"), len(gaps))):
        x = torch.cat([source.x_train, source.x_test]).flatten()
        assert sorted(x[~x.isnan()].tolist()) == list(range(1, 11))
        assert x.isnan().sum() == missing


def test_missing_cells(tmp_path: Path) -> None:
    rows = list(ROWS)
    rows[4], rows[9] = ",1.00,red,True,yes", "9,2.25,NA,False,no"
    path = written(tmp_path, HEADER, *rows)
    with pytest.raises(ValueError, match=r"missing='error': row 5 of .* has no 'number' \(2 missing cells in total\)"):
        csv(path, "answer")
    dropped = csv(path, "answer", missing="drop")
    assert len(dropped.x_train) + len(dropped.x_test) == 38
    mean = csv(path, "answer", missing="mean")
    x = torch.cat([mean.x_train, mean.x_test])
    assert mean.impute
    assert x.isnan().sum() == 1 + 3  # a number, and the three features of a colour
    assert x.isnan().any(1).sum() == 2


BAD: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "no such column": ([HEADER, *ROWS], {"target": "answr"}, r"target='answr' is not a column .*mean 'answer'\?"),
    "nothing to drop": ([HEADER, *ROWS], {"drop": ["color"]}, r"drop='color' is not a column .*mean 'colour'\?"),
    "target dropped": ([HEADER, *ROWS], {"drop": ["answer"]}, r"drop=\['answer'\] contains the target"),
    "no feature": (
        ["answer", *"abab"],
        {},
        r"path='.*' has only the column 'answer', the target; at least one feature",
    ),
    "only a header": ([HEADER], {}, r"path='.*' has a header but no row"),
    "ragged": ([HEADER, *ROWS, "1,2,3,4,5,6,7"], {}, r"path='.*' cannot be read as a csv file: .*line 42"),
    "twice": (["a,a,answer", "1,2,x", "1,2,y"], {}, r"path='.*' has two columns called 'a'"),
    "infinite": (
        [HEADER, *ROWS, "inf,1,red,True,yes"],
        {},
        r"path='.*' has inf in row 41 of column 'number', which is not",
    ),
    "too large": ([HEADER, *ROWS, "1e300,1,red,True,no"], {}, r"path='.*' has 1e\+300 in row 41 of column 'number'"),
    "typo": (
        [HEADER, *ROWS, "4l,1,red,True,yes"],
        {},
        r"path='.*' has numbers in column 'number', but '4l' in row 41",
    ),
    "one class": (["a,answer", "1,x", "2,x"], {}, r"target='answer' has only one class, 'x'"),
    "lone": ([HEADER, *ROWS, "1,1,red,True,maybe"], {}, r"target='answer' has only one example of class 'maybe'"),
    "quantity": (
        ["a,answer", *(f"{i},{i / 7:.3f}" for i in range(30))],
        {"wanted": "classes"},
        r"only one example of class '0.000'; every class needs two; it looks like a quantity: try task=regression",
    ),
    "no class": (
        [HEADER, *ROWS, "1,1,red,True,"],
        {"missing": "mean"},
        r"target='answer' is missing in row 41 of .* \(1 in total\)",
    ),
    "empty column": (["a,b,answer", "1,,x", "2,,y"], {"missing": "mean"}, r"has no value in column 'b'"),
    "names": (
        ["a,answer", *(f"n{i % 300},{i % 2}" for i in range(700))],
        {},
        r"path='.*' has 300 different texts in column 'a'.*'data.drop=\[a\]'",
    ),
    "all dropped": (["a,b,answer", "1,,x", ",1,y"], {"missing": "drop"}, r"missing='drop' leaves no row"),
    "first row too long": (["a,answer", "1,x,9", "2,y"], {}, r"path='.*' cannot be read as a csv file"),
    "decimal commas": (
        ["a;answer", *(f"{i},5;{i % 2}" for i in range(20))],
        {"separator": ";"},
        r"path='.*' has numbers with commas, such as '0,5' in row 1 of column 'a'; if these are decimal",
    ),
    "other separator": (
        ["a;answer", "1;x"],
        {"separator": ","},
        r"path='.*' has only one column, 'a;answer'; .*data\.separator",
    ),
    "long separator": ([HEADER, *ROWS], {"separator": ";;"}, "separator=';;' must be one character"),
    "none to test": ([HEADER, *ROWS], {"test_fraction": 0.01}, r"test_fraction=0\.01 leaves no row to test on"),
    "none to train": ([HEADER, *ROWS], {"test_fraction": 0.99}, r"test_fraction=0\.99 leaves no row of the class"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(tmp_path: Path, name: str) -> None:
    lines, more, message = BAD[name]
    given: dict[str, Any] = {"target": "answer", **more}
    with pytest.raises(ValueError, match=message) as caught:
        csv(written(tmp_path, *lines), **given)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_tables(tmp_path: Path) -> None:
    for name, content in (("empty", b""), ("binary", bytes(range(256)) * 9), ("latin", "a,b\né,ü\n".encode("latin-1"))):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"^path='.*' (cannot be read as a csv file|is not text in UTF-8|is empty)"
        ):
            csv(str(path), "b")
    with pytest.raises(ValueError, match=r"path='.*' is not a file"):
        csv(str(tmp_path / "absent"), "b")
    table = written(tmp_path, HEADER, *ROWS)
    with pytest.raises(ValueError, match=r"test_path='.*' lacks the columns colour, even"):
        csv(table, "answer", test_path=written(tmp_path, "number,share,answer", "1,1,yes", name="test.csv"))
    with pytest.raises(ValueError, match=r"test_path='.*' leaves no row of the class 'perhaps' to train on"):
        csv(table, "answer", test_path=written(tmp_path, HEADER, *["1,1,red,True,perhaps"] * 2, name="test.csv"))


@pytest.mark.slow
def test_the_sentence_reaches_the_user(commands: Commands) -> None:
    path = written(commands.folder, HEADER, *ROWS)
    outcome = commands.train("data=csv", f"data.path={path}", "data.target=answr")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert outcome.err.startswith("Error: data.target='answr' is not a column of ")
    columns = HEADER.replace(",", ", ")
    assert commands.train("data=csv", f"data.path={path}").err == (
        f"Error: data.target is missing; set data.target=... to one of the columns of {path}: {columns}\n"
    )
    assert (
        "to which the shorter side of each picture is scaled before its centre is cropped; set it, for example da"
        in (commands.train("data=image_folder", "data.path=.").refusal())
    )
    assert commands.train("data=csv", "data.path=no.csv").err.startswith("Error: data.path='no.csv' is not a file")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["breast_cancer", "wine"])
def test_real_tables_reach_what_scikit_learn_reaches(commands: Commands, name: str) -> None:
    from sklearn import datasets
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler

    path = commands.folder / f"{name}.csv"
    getattr(datasets, f"load_{name}")(as_frame=True).frame.to_csv(path, index=False)
    source = csv(str(path), "target")
    scaler = StandardScaler().fit(source.x_train.numpy())
    reference = MLPClassifier((100,), max_iter=500, random_state=0)
    reference.fit(scaler.transform(source.x_train.numpy()), source.y_train.numpy())
    theirs = reference.score(scaler.transform(source.x_test.numpy()), source.y_test.numpy())
    ours = summary(
        commands.trained(
            "data=csv", f"data.path={path}", "data.target=target", "model.hidden=[100]", "training.epochs=40"
        )
    )["metrics"]["test/accuracy"]
    assert ours >= theirs - 1.01 / len(source.y_test)
    assert re.fullmatch(r"\d+", source.classes[0])


def test_a_column_in_other_units_is_named(commands: Commands) -> None:
    draw = np.random.default_rng(0)
    for name, factor in (("train", 1), ("test", 0.001)):
        lines = [f"{draw.normal(i % 2):.4f},{factor * draw.normal(i % 2, 3):.6f},{'ab'[i % 2]}" for i in range(60)]
        Path(f"{name}.csv").write_text("\n".join(["metres,weight,kind", *lines]))
    words = ("data=csv", "data.path=train.csv", "data.test_path=test.csv", "data.target=kind", *SMALL)
    said = commands.train(*(word for word in words if not word.startswith("data.limit"))).out
    found = re.search(r"warning: the test inputs are not in the units of the training inputs: (.*)", said)
    assert found is not None, said
    assert found[1].startswith("column 'weight' about ")
    assert "metres" not in found[1]
