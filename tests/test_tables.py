"""Tables in csv files: what becomes of them, and what is refused."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.data.tables import csv
from tests.helpers import Commands, summary

ROWS = [f"{i},{i / 4:.2f},{'red green blue'.split()[i % 3]},{i % 2 == 0},{'no' if i % 2 else 'yes'}" for i in range(40)]  # noqa: SIM905
HEADER = "number,share,colour,even,answer"


def written(folder: Path, *lines: str, name: str = "t.csv") -> str:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


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
        (["1.0", "2.0", "3.0"], ["1", "2", "3"]),
        (["b", "a", "10"], ["10", "a", "b"]),
    ],
)
def test_classes_are_sorted_and_named(tmp_path: Path, values: list[str], names: list[str]) -> None:
    source = csv(written(tmp_path, "x,y", *(f"{i},{values[i % 3]}" for i in range(30))), "y")
    assert source.classes == names


def test_bom_windows_line_ends_and_spaces(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([" a ; kind", *(f" {i} ;k{i % 2} " for i in range(12))]).encode())
    source = csv(str(path), "kind", separator=";")
    assert source.classes == ["k0", "k1"]
    assert sorted(torch.cat([source.x_train, source.x_test]).flatten().tolist()) == list(range(12))


def test_missing_cells(tmp_path: Path) -> None:
    rows = list(ROWS)
    rows[4], rows[9] = ",1.00,red,True,yes", "9,2.25,NA,False,no"
    path = written(tmp_path, HEADER, *rows)
    with pytest.raises(ValueError, match=r"missing='error': row 5 has no 'number' \(2 missing cells altogether\)"):
        csv(path, "answer")
    dropped = csv(path, "answer", missing="drop")
    assert len(dropped.x_train) + len(dropped.x_test) == 38
    mean = csv(path, "answer", missing="mean")
    x = torch.cat([mean.x_train, mean.x_test])
    assert mean.impute
    assert x.isnan().sum() == 1 + 3  # a number, and the three features of a colour
    assert x.isnan().any(1).sum() == 2


BAD: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "no such column": ([HEADER, *ROWS], {"target": "answr"}, r"target='answr' is no column .*did you mean 'answer'\?"),
    "nothing to drop": ([HEADER, *ROWS], {"drop": ["color"]}, r"drop='color' is no column .*did you mean 'colour'\?"),
    "target dropped": ([HEADER, *ROWS], {"drop": ["answer"]}, r"drop=\['answer'\] holds the target"),
    "no feature": (["answer", *"abab"], {}, r"drop=\[\] leaves no column besides the target"),
    "header alone": ([HEADER], {}, r"path='.*' holds a header and no row"),
    "ragged": ([HEADER, *ROWS, "1,2,3,4,5,6,7"], {}, r"path='.*' cannot be read as a csv file: .*line 42"),
    "twice": (["a,a,answer", "1,2,x", "1,2,y"], {}, r"path='.*' has two columns called 'a'"),
    "infinite": ([HEADER, *ROWS, "inf,1,red,True,yes"], {}, r"path: row 41 has 'inf' in column 'number', which is not"),
    "too large": ([HEADER, *ROWS, "1e300,1,red,True,no"], {}, r"path: row 41 has '1e300' in column 'number'"),
    "typo": ([HEADER, *ROWS, "4l,1,red,True,yes"], {}, r"path: column 'number' holds numbers, and '4l' in row 41"),
    "one class": (["a,answer", "1,x", "2,x"], {}, r"target='answer' holds one class only, 'x'"),
    "lone": ([HEADER, *ROWS, "1,1,red,True,maybe"], {}, r"target='answer' has one example only of the class 'maybe'"),
    "quantity": (
        ["a,answer", *(f"{i},{i / 7:.3f}" for i in range(30))],
        {},
        r"looks like a quantity, and this program",
    ),
    "no class": (
        [HEADER, *ROWS, "1,1,red,True,"],
        {"missing": "mean"},
        r"target='answer' is missing in row 41 \(1 such",
    ),
    "empty column": (["a,b,answer", "1,,x", "2,,y"], {"missing": "mean"}, r"no value at all in column 'b'"),
    "names": (
        ["a,answer", *(f"n{i},{i % 2}" for i in range(300))],
        {},
        r"'a' holds 300 different texts.*'data.drop=\[a\]'",
    ),
    "all dropped": (["a,answer", ",x", ",y"], {"missing": "drop"}, r"missing='drop' leaves no row"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(tmp_path: Path, name: str) -> None:
    lines, more, message = BAD[name]
    given: dict[str, Any] = {"target": "answer", **more}
    with pytest.raises(ValueError, match=message) as caught:
        csv(written(tmp_path, *lines), **given)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    for name, content in (("empty", b""), ("binary", bytes(range(256)) * 9), ("latin", "a,b\né,ü\n".encode("latin-1"))):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"^path='.*' (cannot be read as a csv file|is not in UTF-8)"):
            csv(str(path), "b")
    with pytest.raises(ValueError, match=r"path='.*' does not exist"):
        csv(str(tmp_path / "absent"), "b")
    table = written(tmp_path, HEADER, *ROWS)
    with pytest.raises(ValueError, match=r"test_path='.*' lacks the columns colour, even"):
        csv(table, "answer", test_path=written(tmp_path, "number,share,answer", "1,1,yes", name="test.csv"))
    with pytest.raises(ValueError, match="the class 'perhaps' is in the test rows alone"):
        csv(table, "answer", test_path=written(tmp_path, HEADER, *["1,1,red,True,perhaps"] * 2, name="test.csv"))


def test_the_sentence_reaches_the_user(commands: Commands) -> None:
    path = written(commands.folder, HEADER, *ROWS)
    outcome = commands.train("data=csv", f"data.path={path}", "data.target=answr")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert outcome.err.startswith("Error: data.target='answr' is no column of ")
    assert (
        commands.train("data=csv", f"data.path={path}").err
        == "Error: data.target is missing; give it as data.target=...\n"
    )


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
