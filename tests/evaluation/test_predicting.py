"""Predicting for files of one's own, and evaluating on other data, with what the run was trained on long gone."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from experiments import assembly
from experiments.assembly._datasets import Splitting, loaded
from experiments.assembly.targets import divided
from experiments.common.errors import UserError
from experiments.data.sources import Source
from experiments.evaluation.loading import load
from experiments.training.streams import Streams
from tests.helpers import SHARED_DATA, SMALL, Commands, composed, needs_mnist

QUIET = tuple(word for word in SMALL if not word.startswith("data.limit"))


def raw(folder: Path) -> Source:
    """Return a run's data set as it came."""
    return loaded(divided(load(folder).config["data"], Splitting)[1])


def written(folder: Path) -> pd.DataFrame:
    """Return the predictions that an evaluation wrote, as texts to the last digit."""
    return pd.read_csv(folder / "predictions.csv", dtype=str)


def numbers(folder: Path) -> pd.DataFrame:
    """Return the predictions and probabilities alone."""
    return written(folder).drop(columns=["example", "target"], errors="ignore")


def as_pictures(x: torch.Tensor, white: int, folder: Path) -> None:
    """Write examples as PNG files, whose names are in their order."""
    folder.mkdir()
    for number, example in enumerate(x.double().numpy()):
        pixels = np.round(example * 255 / white).astype(np.uint8)
        Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(folder / f"{number:05d}.png")


def test_predictions_of_a_split_have_the_numbers_of_the_rows_in_the_file(commands: Commands) -> None:
    draw = np.random.default_rng(0).normal(size=(60, 2)).round(3)
    rows = [[a, b if number % 9 else "", int(a > 0)] for number, (a, b) in enumerate(draw.tolist())]
    Path("own.csv").write_text("a,b,y\n" + "\n".join(",".join(map(str, row)) for row in rows))
    np.savez("own.npz", x=draw, y=(draw[:, 0] > 0).astype(int))
    table = ("data=csv", "data.path=own.csv", "data.target=y", "data.missing=drop")
    arrays = ("data=npz", "data.path=own.npz", "data.keys={x_train:x,y_train:y}", "data.test_fraction=0.2")
    for words, first in ((table, 1), (arrays, 0)):
        config = composed(*words)
        data = assembly.data(config, Streams(0), torch.device("cpu"))
        assert data.splits.keys() == data.numbers.keys()
        for name, split in data.splits.items():
            numbers = data.numbers[name]
            assert torch.equal(split.raw()[:, 0].float(), torch.tensor(draw[numbers - first, 0]).float())
        used = torch.cat([*data.numbers.values()]).sort().values.tolist()
        assert used == [number + first for number in range(60) if first == 0 or number % 9]
    folder = commands.trained(*QUIET, *table, "training.epochs=0")
    assert commands.type("evaluate", f"run={folder}").code == 0
    found = pd.read_csv(folder / "evaluation" / "test" / "predictions.csv")
    assert [rows[number - 1][2] for number in found["example"]] == found["target"].tolist()


FILES = ("de.csv", "en.csv", "latin.csv")


@pytest.mark.slow
def test_a_new_table_may_have_another_decimal_mark_and_encoding(commands: Commands) -> None:
    draw = np.random.default_rng(0).normal(size=(60, 2)).round(2)
    lines = [f"{a};{b};{'ä' if a > 0 else 'o'};{int(a + b > 0)}".replace(".", ",") for a, b in draw]
    Path("de.csv").write_text("\n".join(["a;b;t;y", *lines]))
    folder = commands.trained(*QUIET, "data=csv", "data.path=de.csv", "data.target=y", "data.decimal=comma")
    Path("en.csv").write_text("a,b,t\n" + "\n".join(f"{a},{b},{'ä' if a > 0 else 'o'}" for a, b in draw))
    Path("latin.csv").write_text("\n".join(["a;b;t;y", *lines]), encoding="latin-1")
    refused = commands.type("evaluate", f"run={folder}", f"input={FILES[1]}").refusal()
    assert "not a number with the decimal mark ',' of the training; for a file of input=, add data.decimal=p" in refused
    results = [
        load(folder, other=other).predict(name).probabilities
        for name, other in zip(FILES, ({}, {"decimal": "point"}, {"encoding": "latin-1"}), strict=True)
    ]
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])
    assert commands.type("evaluate", f"run={folder}", "input=en.csv", "data.decimal=point").code == 0
    table = pd.read_csv("en.csv").set_index(pd.Index([f"case {number}" for number in range(60)]))
    predictions = load(folder).predict(table)
    assert np.array_equal(predictions.probabilities, results[0])
    assert predictions.names[:2] == ["case 0", "case 1"]
    with pytest.raises(UserError, match=r"^the table lacks the column 'b', which the run was trained with$"):
        load(folder).predict(table.drop(columns=["b"]))
    refused = commands.type("evaluate", f"run={folder}", "input=en.csv", "data.decimal=dot").refusal()
    assert "data.decimal='dot' should be 'point' or" in refused


@pytest.mark.slow
def test_the_test_split_read_from_files_has_the_same_predictions(commands: Commands, copied: Path) -> None:
    x = raw(copied).x_test
    as_pictures(x, 16, commands.folder / "own")
    np.savez(commands.folder / "own.npz", x=x[:, 0].numpy())
    flat = pd.DataFrame(x.flatten(1).numpy(), columns=[f"pixel {n}" for n in range(64)])
    flat.to_csv(commands.folder / "own.csv", index=False)
    assert commands.type("evaluate", f"run={copied}", "device=cpu").code == 0
    expected = numbers(copied / "evaluation" / "test")
    for name, first in (("own", "00000.png"), ("own.npz", "0"), ("own.csv", "1")):
        outcome = commands.type("evaluate", f"run={copied}", f"input={commands.folder / name}", "device=cpu")
        assert outcome.code == 0, outcome.err
        out = copied / "evaluation" / f"input_{name}"
        pd.testing.assert_frame_equal(numbers(out), expected)
        assert written(out)["example"][0] == first
        assert "and 319 more" in outcome.out
        row = next(line for line in outcome.out.splitlines() if line.startswith(f"{first} "))
        best = expected.filter(like="p(").iloc[0].astype(float).sort_values(ascending=False)
        assert row.split()[1:] == [word for name, p in best[:2].items() for word in (str(name)[2:-1], f"{p:.1%}")]


@pytest.mark.slow
@needs_mnist
def test_the_test_split_of_mnist_read_from_pictures_has_the_same_predictions(commands: Commands) -> None:
    folder = commands.trained(*SMALL, "data=mnist", f"data.root={SHARED_DATA}", "training.epochs=1")
    x = raw(folder).x_test[:300]
    as_pictures(x, 255, commands.folder / "own")
    model = load(folder, device="cpu")
    predictions = model.predict(commands.folder / "own")
    assert np.array_equal(predictions.probabilities, model.probabilities(x).numpy())


@pytest.mark.slow
def test_a_picture_has_the_same_prediction_alone_and_in_its_folder(commands: Commands) -> None:
    draw = np.random.default_rng(0)
    for name, light in (("dark", 60), ("light", 190)):
        (commands.folder / "own" / name).mkdir(parents=True)
        for number in range(20):
            pixels = draw.integers(light - 60, light + 60, (20 + number, 30, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(commands.folder / "own" / name / f"{number}.png")
    settings = ("data=image_folder", "data.path=own", "data.size=16", "data.cache=cache")
    folder = commands.trained(*QUIET, *settings)
    source = raw(folder)
    model = load(folder, device="cpu")
    among = model.probabilities(torch.as_tensor(source.x_test.numpy().copy()))
    every = model.predict(commands.folder / "own")
    assert sorted(every.names)[0] == "dark/0.png"
    shutil.rmtree(commands.folder / "cache")
    for name in every.names:
        alone = model.predict(commands.folder / "own" / name)
        assert alone.names == [Path(name).name]
        row = every.probabilities[list(every.names).index(name)]
        np.testing.assert_allclose(alone.probabilities[0], row, atol=1e-6)
    rows = {tuple(np.round(row, 6)) for row in every.probabilities}
    assert all(tuple(np.round(row, 6)) in rows for row in among.numpy())
    assert not (commands.folder / "cache").exists(), "nothing is decoded for keeping"
    grey = Image.open(commands.folder / "own" / "dark" / "3.png").convert("L")
    grey.save(commands.folder / "grey.png")
    grey.convert("RGB").save(commands.folder / "rgb.png")
    shades = [model.predict(commands.folder / f"{name}.png").probabilities for name in ("grey", "rgb")]
    assert np.array_equal(shades[0], shades[1])


def rows(count: int, seed: int = 0) -> pd.DataFrame:
    """Return a table with texts, truths and missing cells, whose class follows from its numbers."""
    draw = np.random.default_rng(seed)
    size = draw.normal(size=count)
    made = pd.DataFrame({
        "size": [f"{value:.6f}" for value in size],
        "kind": draw.choice(["b", "a", "c"], count),
        "sweet": draw.choice(["true", "False"], count),
        "weight": [f"{value:.6f}" for value in draw.normal(size=count)],
        "species": np.where(size > 0, "pear", "apple"),
    })  # fmt: skip
    for column in ("size", "kind", "sweet"):
        made.loc[draw.random(count) < 0.1, column] = ""
    return made


TABLE = ("data=csv", "data.path=own.csv", "data.target=species", "data.missing=mean", "data.test_path=test.csv")


@pytest.fixture
def fruit(commands: Commands) -> Path:
    """A run that was trained on a table."""
    rows(150).to_csv("own.csv", index=False)
    rows(60, seed=1).to_csv("test.csv", index=False)
    return commands.trained(*QUIET, *TABLE)


@pytest.mark.slow
def test_rows_of_a_table_are_predicted_without_the_table(commands: Commands, fruit: Path) -> None:
    assert commands.type("evaluate", f"run={fruit}", "device=cpu").code == 0
    expected = numbers(fruit / "evaluation" / "test")
    test = pd.read_csv("test.csv", dtype=str, keep_default_na=False)
    Path("own.csv").unlink()
    Path("test.csv").unlink()
    shuffled = test[["weight", "species", "sweet", "kind", "size"]]
    for name, table in (("same.csv", test), ("shuffled.csv", shuffled), ("bare.csv", test.drop(columns="species"))):
        table.to_csv(name, index=False)
        outcome = commands.type("evaluate", f"run={fruit}", f"input={name}", "device=cpu")
        assert outcome.code == 0, outcome.err
        pd.testing.assert_frame_equal(numbers(fruit / "evaluation" / f"input_{name}"), expected)
    few = test.loc[test["kind"] == "a"][:3]  # one text alone: the others keep their features
    few.to_csv("few.csv", index=False)
    assert commands.type("evaluate", f"run={fruit}", "input=few.csv", "device=cpu").code == 0
    found = numbers(fruit / "evaluation" / "input_few.csv").filter(like="p(").astype(float)
    wanted = expected.iloc[few.index].filter(like="p(").astype(float).reset_index(drop=True)
    pd.testing.assert_frame_equal(found, wanted, atol=1e-6)


@pytest.mark.slow
def test_other_data_are_prepared_as_the_runs(commands: Commands, fruit: Path) -> None:
    other = rows(80, seed=2)
    other = other[other["kind"] != "a"][::-1]  # a text that is absent, and the classes in another order
    other.to_csv("other.csv", index=False)
    for settings, name in (
        (("data.test_path=other.csv",), "test,data.test_path=other.csv"),
        (("data=csv", *TABLE[1:4], "data.test_path=other.csv"), None),
    ):
        assert commands.type("evaluate", f"run={fruit}", "device=cpu", *settings).code == 0
        (made,) = [path for path in (fruit / "evaluation").iterdir() if name is None or path.name == name]
        found = json.loads((made / "evaluation.json").read_text())
        assert found["examples"] == len(other)
        table = written(made)
        assert table["target"].tolist() == other["species"].tolist()
        expected = load(fruit, device="cpu").predict("other.csv")
        assert table["prediction"].tolist() == expected.labels
        np.testing.assert_allclose(table.filter(like="p(").astype(float), expected.probabilities, atol=1e-6)
        assert found["accuracy"] == pytest.approx((table["target"] == table["prediction"]).mean())
        shutil.rmtree(fruit / "evaluation")


@pytest.mark.slow
def test_classes_are_known_by_their_names(commands: Commands) -> None:
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(120, 3)), np.repeat([3, 5, 9], 40)
    x[np.arange(120), y // 4] += 6
    arrays: dict[str, Any] = {"x_train": x, "y_train": y, "x_test": x[::3], "y_test": y[::3]}
    np.savez("own.npz", **arrays)
    folder = commands.trained(*QUIET, "data=npz", "data.path=own.npz", "training.epochs=20", "optimizer.lr=0.01")
    kept = y != 3  # classes 5 and 9, whose numbers are now 0 and 1
    fewer = {name: value[kept[::3] if "test" in name else kept] for name, value in arrays.items()}
    np.savez("fewer.npz", **fewer)
    assert commands.type("evaluate", f"run={folder}", "data.path=fewer.npz").code == 0
    found = written(folder / "evaluation" / "test,data.path=fewer.npz")
    assert set(found["target"]) == {"5", "9"}
    assert (found["target"] == found["prediction"]).mean() > 0.9
    np.savez("unknown.npz", **{**arrays, "y_train": y + 1, "y_test": y[::3] + 1})
    outcome = commands.type("evaluate", f"run={folder}", "data.path=unknown.npz")
    assert outcome.code == 2
    assert "the class '4' is not one of the run's classes, 3, 5, 9" in outcome.err


@pytest.mark.slow
def test_an_ensemble_predicts_by_the_mean(commands: Commands, copied: Path) -> None:
    second = commands.trained(*SMALL, "seed=1")
    x = raw(copied).x_test[:7]
    np.savez("own.npz", x=x[:, 0].numpy())
    outcome = commands.type("evaluate", str(copied), str(second), "input=own.npz", "ensemble=mean", "device=cpu")
    assert outcome.code == 0, outcome.err
    mean = (load(copied, device="cpu").probabilities(x) + load(second, device="cpu").probabilities(x)) / 2
    found = written(commands.folder / "evaluation" / "ensemble_input_own.npz")
    np.testing.assert_allclose(found.filter(like="p(").astype(float), mean, atol=1e-9)


def test_a_notebook_predicts(copied: Path) -> None:
    x, model = raw(copied).x_test, load(copied, device="cpu")
    expected = model.probabilities(x).numpy()
    for given in (x.numpy(), x[:, 0].numpy(), x.flatten(1).numpy(), x.numpy().astype(float)):
        found = model.predict(given)
        assert np.array_equal(found.probabilities, expected)
    one = model.predict(x[0].numpy())
    assert one.labels == model.predict(x).labels[:1]
    assert repr(one).splitlines()[1].split()[:2] == ["0", one.labels[0]]


BAD = {
    "nowhere.png": "'nowhere.png' does not exist",
    "empty": "'empty' contains no picture",
    "notes.md": "ends in '.md'",
    "broken.png": "'broken.png' cannot be read as a picture",
    "some": "cannot be read as a picture",
    "own.csv": "'own.csv' contains examples of shape 5; the run was trained on 1 x 8 x 8",
    "texts.csv": "'texts.csv' has 'red' in row 2 of column 'b', which is not a number",
    "bare.csv": "'bare.csv' has a header but no row",
    "none.npz": "'none.npz' has no x; it contains y",
    "wide.npz": "contains examples of shape 9 x 9",
    "texts.npz": "expected numbers",
    "nan.npz": "not finite in float32, first in example 1",
    "objects.npz": "cannot be read as an .npz file",
    "flat.npz": "contains single numbers",
    "no.npz": "'no.npz' contains no example",
}


@pytest.mark.parametrize(("name", "said"), BAD.items(), ids=BAD)
def test_unusable_files_are_refused(commands: Commands, copied: Path, name: str, said: str) -> None:
    Path("empty").mkdir()
    Path("some").mkdir()
    Path("notes.md").write_text("x")
    for picture in ("broken.png", "some/broken.png"):
        Path(picture).write_bytes(b"\x89PNG\r\n")
    Path("own.csv").write_text("a,b,c,d,e\n1,2,3,4,5\n")
    Path("texts.csv").write_text("a,b\n1,2\n1,red\n")
    Path("bare.csv").write_text("a,b\n")
    wide = np.ones((2, 9, 9))
    for stem, arrays in {
        "none": {"y": wide}, "wide": {"x": wide}, "texts": {"x": np.array([["red"]])}, "flat": {"x": np.ones(3)},
        "nan": {"x": np.array([np.ones((8, 8)), np.full((8, 8), np.nan)])}, "no": {"x": np.ones((0, 8, 8))},
        "objects": {"x": np.array([{}], dtype=object)},
    }.items():  # fmt: skip
        np.savez(f"{stem}.npz", **dict[str, Any](arrays))
    assert_refused(commands, copied, f"input={name}", said)


BAD_ROWS = {
    "lacks the columns 'kind', 'sweet'": lambda t: t.drop(columns=["sweet", "kind"]),
    "has the column 'colour', which the run was not trained with": lambda t: t.assign(colour=1),
    "has 'heavy' in row 3 of column 'weight', which is not a number": lambda t: t.assign(weight=["1", "2", "heavy"]),
    "has 'z' in row 1 of column 'kind', which is not one of a, b, c": lambda t: t.assign(kind=["z", "a", "b"]),
    "has 'perhaps' in row 2 of column 'sweet'": lambda t: t.assign(sweet=["true", "perhaps", ""]),
    "has inf in row 3 of column 'weight', which is not finite": lambda t: t.assign(weight=["1", "2", "inf"]),
}


@pytest.mark.slow
@pytest.mark.parametrize(("said", "change"), BAD_ROWS.items(), ids=BAD_ROWS)
def test_unusable_rows_are_refused(commands: Commands, fruit: Path, said: str, change) -> None:  # type: ignore[no-untyped-def]
    change(rows(3, seed=4)).to_csv("new.csv", index=False)
    assert_refused(commands, fruit, "input=new.csv", said)
    Image.new("L", (8, 8)).save("own.png")
    assert_refused(commands, fruit, "input=own.png", "the run was not trained on pictures; give a csv file")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("data=mnits",), "did you mean 'data=mnist'?"),
        (("data=moons",), "its examples have the shape 2; the run was trained on 1 x 8 x 8"),
        (("data.path=x",), "unknown setting 'data.path' of digits"),
        (("data.preprocess=zca",), "data.preprocess is fixed by the run; only the other keys of data can change"),
        (("data._target_=os.system",), "data._target_ is fixed by the run"),
        (("data=csv",), "data.path is missing"),
        (("data=moons", "input=x.npz"), "are both given; input uses files and no data set"),
        (("ensemble=mean", "input=x.npz"), "needs two runs"),
    ],
)
def test_other_data_that_do_not_fit_are_refused(
    commands: Commands, copied: Path, words: tuple[str, ...], said: str
) -> None:
    assert said in commands.type("evaluate", f"run={copied}", *words).refusal()


def assert_refused(commands: Commands, folder: Path, word: str, said: str) -> None:
    """Expect one sentence, and nothing written."""
    error = commands.type("evaluate", f"run={folder}", word).refusal()
    assert said in error
    assert error.startswith("Error: input=")
    assert not (folder / "evaluation").exists()


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (100, r"they are [\d.]+ standard deviations from the mean"),
        (0.01, r"they vary by 0\.0\d+ standard deviations"),
        (1, ""),
    ],
)
def test_inputs_in_other_units_are_named(commands: Commands, copied: Path, factor: float, said: str) -> None:
    np.save(commands.folder / "new.npy", factor * raw(copied).x_test[:40, 0].double().numpy())
    outcome = commands.type("evaluate", f"run={copied}", f"input={commands.folder / 'new.npy'}", "device=cpu")
    assert outcome.code == 0, outcome.err
    warning = "warning: the inputs are not in the units of the training inputs "
    if said:
        assert re.search(rf"{warning}\({said}", outcome.out), outcome.out
    else:
        assert warning not in outcome.out


def test_pictures_whose_light_and_dark_are_swapped_are_named(commands: Commands, copied: Path) -> None:
    x = raw(copied).x_test[:40]
    as_pictures(x, 16, commands.folder / "own")
    as_pictures(16 - x, 16, commands.folder / "inverted")
    warning = re.compile(
        r"^warning: light and dark may be swapped: the mean brightness is [67]\d%, in training it was 3\d%; if so, "
        r"invert the pictures$",
        re.MULTILINE,
    )
    for name, swapped in (("own", False), ("inverted", True), ("inverted/00003.png", True)):
        outcome = commands.type("evaluate", f"run={copied}", f"input={commands.folder / name}", "device=cpu")
        assert outcome.code == 0, outcome.err
        assert bool(warning.search(outcome.out)) == swapped, outcome.out
