"""Tables as people have them, each with its right outcome; all of them are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

ROWS = 60


@dataclass(frozen=True)
class Table:
    """A table, how it is read, and what becomes of it.

    Args:
        content: of the file.
        settings: of `data`, in addition to the path and the target.
        target: the column of the class.
        refused: a pattern of the sentence that refuses the table; None if it is read.
        classes: their names.
        columns: of each column that counts in this case, what it holds and the number of its features.
        task: what is learnt.
        said: patterns of what is said about the table or its columns.
    """

    content: bytes
    settings: Mapping[str, Any] = field(default_factory=dict)
    target: Any = "y"
    refused: str | None = None
    classes: Sequence[str] | None = None
    columns: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    said: Sequence[str] = ()
    task: str = "auto"


Cell = Callable[[int], object]


def text(separator: str = ",", before: str = "", rows: int = ROWS, **columns: Cell) -> str:
    """Return a table with a cell for each row and column; `y` alternates between a and b unless it is given."""
    columns = {"y": lambda i: "ab"[i % 2], **columns}
    lines = [separator.join(columns), *(separator.join(str(cell(i)) for cell in columns.values()) for i in range(rows))]
    return before + "\n".join(lines) + "\n"


def table(separator: str = ",", before: str = "", encoding: str = "utf-8", rows: int = ROWS, **columns: Cell) -> bytes:
    """Return the same as the content of a file."""
    return text(separator, before, rows, **columns).encode(encoding)


NOISE = np.random.default_rng(0).normal(size=2000)
SHUFFLED = np.random.default_rng(1).permutation(2000)
FIRST = 1_700_000_010
"""A Unix time."""


def noise(i: int) -> str:
    """A number without a meaning."""
    return f"{NOISE[i]:.3f}"


def late(i: int) -> int:
    """A Unix time within 41 seconds."""
    return FIRST + int(SHUFFLED[i]) % 41


def by_class(i: int) -> str:
    """Classes of a sorted file."""
    return "ab"[i >= ROWS // 2]


def word(i: int) -> str:
    """A text of three."""
    return ("red", "green", "blue")[i % 3]


def gap(mark: str) -> Cell:
    """Numbers, two of which are missing."""
    return lambda i: mark if i in (3, 10) else i * i


MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
DATES: dict[str, Cell] = {
    "dates": lambda i: f"2024-{1 + i % 12:02}-{1 + i % 28:02}",
    "German dates": lambda i: f"{1 + i % 28}.{1 + i % 12}.2020",
    "American dates": lambda i: f"{1 + i % 12}/{1 + i % 28}/2020",
    "short years": lambda i: f"{1 + i % 28:02}/{1 + i % 12:02}/20",
    "named months": lambda i: f"{1 + i % 28} {MONTHS[i % 12]} 2021",
    "months first": lambda i: f"{MONTHS[i % 12]} {1 + i % 28} 2021",
    "times": lambda i: f"2024-01-{1 + i % 28:02}T10:{i % 60:02}:00Z",
    "clock": lambda i: f"{i % 24}:{i % 60:02}",
    "months": lambda i: f"20{20 + i % 4}-{1 + i % 12:02}",
    "numbers as dates": lambda i: f"2024{1 + i % 12:02}{1 + i % 28:02}",
    "months in German": lambda i: f"{1 + i % 28}. {('Januar', 'März', 'Mai', 'Okt', 'Dezember')[i % 5]} 2024",
    "months in French": lambda i: f"{1 + i % 28} {('janvier', 'février', 'août', 'décembre')[i % 4]} 2024",
    "dates in Chinese": lambda i: f"2024年{1 + i % 12}月{1 + i % 28}日",
}
AMOUNTS: dict[str, tuple[Cell, str]] = {
    "dollars": (lambda i: f"${1000 + 7 * i}", r"money \(\$\)"),
    "euros": (lambda i: f"{i * i} €", "money (€)"),
    "negative dollars": (lambda i: f"-${i}.50", r"money ($)"),
    "thousands of dollars": (lambda i: f'"${1000 + 7 * i:,}.00"', r"money ($)"),
    "codes of currencies": (lambda i: f"USD {i * i}", "money (USD)"),
    "percent": (lambda i: f"{i}%", "percentages"),
    "kilograms": (lambda i: f"{i / 2} kg", "amounts (kg)"),
}
IDENTIFIERS: dict[str, tuple[str, Cell]] = {
    "names": ("name", lambda i: f"Ms {SHUFFLED[i]}"),
    "almost unique names": ("ticket", lambda i: f"T{SHUFFLED[i] % 50}/{i // 2}"),
    "hashes": ("hash", lambda i: f"{int(SHUFFLED[i]) * 2654435761 % 2**32:08x}x"),
    "customers": ("customer_id", lambda i: 10_000 + 3 * int(SHUFFLED[i])),
    "passengers": ("PassengerId", lambda i: 5000 + int(SHUFFLED[i])),
}

CASES: dict[str, Table] = {
    "Unix times": Table(table(t=late, y=lambda i: "ba"[late(i) > FIRST + 20]), columns={"t": ("numbers", 1)}),
    "Unix times as they are": Table(
        table(t=late),
        {"preprocess": "none"},
        said=[r"column 't' has \d\d different values in the file and 1 in float32"],
    ),
    "classes with leading zeros": Table(table(x=noise, y=lambda i: f"0{1 + i % 3}"), classes=["01", "02", "03"]),
    "01 is not 1": Table(table(x=noise, y=lambda i: ("01", "1", "2")[i % 3]), classes=["01", "1", "2"]),
    "1.0 is 1": Table(
        table(x=noise, y=lambda i: ("1", "1", "1.0", "2")[i % 4]),
        classes=["1", "2"],
        said=["'1', '1.0' are one class, '1', because they are the same number"],
    ),
    "1_0 is not 10": Table(table(x=noise, y=lambda i: ("1_0", "10", "5")[i % 3]), classes=["10", "1_0", "5"]),
    "a class called NA": Table(
        table(x=noise, y=lambda i: ("NA", "DE", "FR")[i % 3]),
        {"missing": "drop"},
        classes=["DE", "FR"],
        said=["missing cells in 20 of 60 rows, which are left out; 20 of them have no 'y'"],
    ),
    "cells that are filled in": Table(
        table(x=gap("")), {"missing": "mean"}, said=["2 missing cells, filled in by data.missing=mean"]
    ),
    "1.0 stays": Table(table(x=noise, y=lambda i: f"{1 + i % 2}.0"), classes=["1.0", "2.0"]),
    "10 after 9": Table(table(x=noise, y=lambda i: 8 + i % 3), classes=["8", "9", "10"]),
    "yes and Yes": Table(
        table(x=noise, y=lambda i: ("yes", "Yes", "no")[i % 3]),
        classes=["Yes", "no", "yes"],
        said=["'Yes' and 'yes' are different classes, although only their case differs"],
    ),
    **{
        name: Table(
            table(d=cell, x=noise),
            columns={"d": ("dates", 0), "x": ("numbers", 1)},
            said=["dates such as .*data.kinds={d:dates}"],
        )
        for name, cell in DATES.items()
    },
    "dates as days": Table(table(d=DATES["dates"]), {"kinds": {"d": "dates"}}, columns={"d": ("dates", 1)}),
    "numbers as dates, as days": Table(
        table(d=DATES["numbers as dates"]), {"kinds": {"d": "dates"}}, columns={"d": ("dates", 1)}
    ),
    "numbers that are not dates, as days": Table(
        table(d=lambda i: i + 0.5),
        {"kinds": {"d": "dates"}},
        refused=r"0.5 in row 1 of column .d., which is not a date",
    ),
    "dates as texts": Table(table(d=DATES["dates"]), {"kinds": {"d": "texts"}}, columns={"d": ("texts", ROWS)}),
    **{
        f"{name} as the target": Table(
            table(x=noise, y=cell),
            refused=r"data.target='y' holds dates such as '.*, and each of them would be a class",
        )
        for name, cell in DATES.items()
    },
    "dates as the target, given as days": Table(
        table(x=noise, y=DATES["dates"]), {"kinds": {"y": "dates"}}, classes=[], columns={"x": ("numbers", 1)}
    ),
    "compact dates as the target, given as days": Table(
        table(x=noise, y=DATES["numbers as dates"]), {"kinds": {"y": "dates"}}, classes=[]
    ),
    "years and months as classes": Table(
        table(x=noise, y=lambda i: f"2024-{1 + i % 3:02}"),
        {"kinds": {"y": "texts"}},
        classes=["2024-01", "2024-02", "2024-03"],
    ),
    "a word among dates as the target": Table(
        table(x=noise, y=lambda i: "soon" if i == 4 else DATES["dates"](i)),
        {"kinds": {"y": "dates"}},
        refused=r"'soon' in row 5 of the target 'y', which is not a date",
    ),
    "dates as numbers of a regression": Table(
        table(x=noise, y=DATES["dates"]),
        task="regression",
        refused=r"'data.kinds={y:dates}' reads dates as days since 1970",
    ),
    "a whole number as a quantity": Table(table(x=noise, y=lambda i: i % 7), {"kinds": {"y": "numbers"}}, classes=[]),
    "versions are texts": Table(table(d=lambda i: f"3.{i % 3}.99"), columns={"d": ("texts", 3)}),
    **{
        name: Table(table(p=cell), columns={"p": (holds.replace("\\", ""), 1)})
        for name, (cell, holds) in AMOUNTS.items()
    },
    "euros with decimal commas": Table(
        table(";", p=lambda i: f"{i * i},50 €"), {"decimal": "comma"}, columns={"p": ("money (€)", 1)}
    ),
    "thousands": Table(
        table(p=lambda i: f'"{1000 + 31 * i:,}"'), refused=r"'1,000' in row 1 of column 'p'.*data.kinds={p:amounts}"
    ),
    "thousands as amounts": Table(
        table(p=lambda i: f'"{1000 + 31 * i:,}"'), {"kinds": {"p": "amounts"}}, columns={"p": ("amounts", 1)}
    ),
    "thousands with spaces": Table(
        table(p=lambda i: f"{1 + i} {100 + i}"),
        columns={"p": ("numbers", 1)},
        said=["read as numbers: '9 108' is 9108; 'data.kinds={p:texts}' uses it as texts"],
    ),
    "thousands with apostrophes": Table(
        table(p=lambda i: f"{i}.20" if i < 4 else f"{i}'{100 + i}.50"), columns={"p": ("numbers", 1)}
    ),
    "francs with apostrophes": Table(table(p=lambda i: f"CHF {1 + i}'{100 + i}"), columns={"p": ("money (CHF)", 1)}),
    "percentages with decimal commas": Table(
        table(";", p=lambda i: f"{i},5%"),
        refused="has amounts with decimal commas, such as '0,5%' in row 1 of column 'p'; add data",
    ),
    "an identifier that repeats": Table(
        table(user_id=lambda i: 10_000 + i // 2),
        columns={"user_id": ("numbers", 1)},
        said=["its name says that it names things, .*'data.kinds={user_id:texts}' takes one feature per value"],
    ),
    "an odd amount": Table(
        table(p=lambda i: "free" if i == 5 else f"${i * i}"),
        refused=r"money \(\$\) in column 'p', but 'free' in row 6; .*data.missing_marks=\[free\]",
    ),
    "two units": Table(
        table(p=lambda i: f"{i} g" if i == 7 else f"{i} kg"),
        refused=r"amounts \(kg\) in column 'p', but '7 g' in row 8",
    ),
    "dates with gaps of another kind": Table(
        table(d=lambda i: "soon" if i == 5 else DATES["dates"](i), x=noise), columns={"d": ("dates", 0)}
    ),
    "one amount that is none": Table(
        table(p=lambda i: "cheap" if i == 5 else f"${i}"), {"kinds": {"p": "amounts"}}, refused="do not|does not fit"
    ),
    **{
        name: Table(
            table(x=noise, **dict[str, Any]({column: cell})),
            columns={column: ("identifiers", 0), "x": ("numbers", 1)},
            said=[r"left out"],
        )
        for name, (column, cell) in IDENTIFIERS.items()
    },
    "a name as texts": Table(
        table(name=IDENTIFIERS["names"][1]), {"kinds": {"name": "texts"}}, columns={"name": ("texts", ROWS)}
    ),
    "only a name": Table(
        table(name=IDENTIFIERS["names"][1]), refused="no column that is a feature: 'name' .*data.kinds"
    ),
    "a row number": Table(table(Id=lambda i: i + 1, x=noise), columns={"Id": ("row numbers", 0), "x": ("numbers", 1)}),
    "a row number in a sorted file": Table(
        table(n=lambda i: i, x=noise, y=by_class),
        columns={"n": ("row numbers", 0)},
        said=["it counts the rows, and the rows are sorted by class"],
    ),
    "the index of a frame": Table(
        table(x=noise)
        .replace(b"y,x\n", b",y,x\n")
        .replace(b"\na,", b"\n@,a,")
        .replace(b"\nb,", b"\n@,b,")
        .replace(b"\n@", b"\n1"),
        columns={"": ("one value", 0)},
    ),
    "a count by another name": Table(
        table(n=lambda i: i, x=noise), columns={"n": ("numbers", 1)}, said=["it counts the rows; leave it out with"]
    ),
    "one number": Table(table(c=lambda _: 7, x=noise), columns={"c": ("one value", 0)}),
    "one text": Table(table(c=lambda _: "here", x=noise), columns={"c": ("one value", 0)}),
    "postal codes": Table(table(zip=lambda i: f"{i % 7:05}"), columns={"zip": ("codes", 7)}),
    "postal codes as numbers": Table(
        table(zip=lambda i: f"{i % 7:05}"), {"kinds": {"zip": "numbers"}}, columns={"zip": ("numbers", 1)}
    ),
    "-999": Table(table(x=gap("-999")), said=["2 cells are -999; 'data.missing_marks=.-999.'"]),
    "-999 as a mark": Table(
        table(x=gap("-999")), {"missing_marks": [-999], "missing": "drop"}, columns={"x": ("numbers", 1)}
    ),
    "?": Table(table(x=gap("?")), refused=r"but '\?' in row 4; .*data.missing_marks=\[\"\?\"\]"),
    "? as a mark": Table(table(x=gap("?")), {"missing_marks": ["?"], "missing": "mean"}, columns={"x": ("numbers", 1)}),
    ". as a mark": Table(table(x=gap(".")), {"missing_marks": ["."], "missing": "mean"}, columns={"x": ("numbers", 1)}),
    "NA": Table(table(x=gap("NA")), refused=r"row 4 of .* has no 'x' \(2 missing cells in total\)"),
    "? among texts": Table(
        table(x=lambda i: "?" if i == 4 else word(i)), columns={"x": ("texts", 4)}, said=["'\\?' is one of the texts"]
    ),
    "semicolons": Table(table(";", x=noise, w=word), columns={"w": ("texts", 3)}, said=["separated by semicolons"]),
    "decimal commas": Table(
        table(";", x=lambda i: noise(i).replace(".", ",")), refused="decimal commas, add data.decimal=comma"
    ),
    "decimal commas as set": Table(
        table(";", x=lambda i: noise(i).replace(".", ",")), {"decimal": "comma"}, columns={"x": ("numbers", 1)}
    ),
    "points as decimal commas": Table(table(";", x=noise), {"decimal": "comma"}, refused="data.decimal=point"),
    "tabs": Table(table("\t", x=noise, w=word), columns={"w": ("texts", 3)}, said=["separated by tabs"]),
    "bars": Table(table("|", x=noise, w=word), columns={"w": ("texts", 3)}, said=["separated by vertical bars"]),
    "spaces": Table(table(" ", x=noise, w=word), columns={"w": ("texts", 3)}, said=["separated by spaces"]),
    "semicolons in texts": Table(table(x=noise, w=lambda i: f"{word(i)}; dark"), columns={"w": ("texts", 3)}),
    "a word for a separator": Table(table(";", x=noise), {"separator": "semicolon"}, columns={"x": ("numbers", 1)}),
    "sep=": Table(
        table(";", "sep=;\n", x=noise), columns={"x": ("numbers", 1)}, said=["the first line before the header is"]
    ),
    "comments": Table(
        table(",", "# by hand\n# metres\n", x=noise), said=["the first 2 lines before the header are left out"]
    ),
    "a header like a comment": Table(
        table(x=noise).replace(b"y,x", b"#y,x"), target="#y", columns={"x": ("numbers", 1)}
    ),
    "Latin-1": Table(
        table(encoding="latin-1", x=noise, y=lambda i: "äö"[i % 2]),
        refused="not text in UTF-8; .*data.encoding=latin-1",
    ),
    "Latin-1 as set": Table(
        table(encoding="latin-1", x=noise, y=lambda i: "äö"[i % 2]), {"encoding": "latin-1"}, classes=["ä", "ö"]
    ),
    "UTF-16": Table(table(encoding="utf-16", x=noise, y=lambda i: "äö"[i % 2]), classes=["ä", "ö"], said=["utf-16"]),
    "UTF-16 without a mark": Table(table(encoding="utf-16-le", x=noise), classes=["a", "b"], said=["utf-16-le"]),
    "a mark of UTF-8": Table(table(encoding="utf-8-sig", x=noise), classes=["a", "b"]),
    "UTF-32": Table(table(encoding="utf-32", x=noise, y=lambda i: "äö"[i % 2]), classes=["ä", "ö"], said=["utf-32"]),
    **{
        f"not a table but {what}": Table(content + bytes(range(256)), refused=f"is not a csv file but {kind}.*; ")
        for what, content, kind in (
            ("gzip", b"\x1f\x8b", "a compressed file"),
            ("Excel", b"PK\x03\x04", "an Excel file"),
            ("Parquet", b"PAR1", "a Parquet file"),
            ("JSON", b'[{"y": 1}]', "JSON"),
            ("a page", b"\n<!DOCTYPE html>", "HTML or XML"),
            ("arrays", b"\x93NUMPY", "an .npy file"),
        )
    },
    "a column called PK": Table(table(PK=noise), columns={"PK": ("numbers", 1)}),
    "an empty file": Table(b" \n", refused="is empty; give a csv file with a header"),
    "a damaged end": Table(table(x=noise) + bytes(50), refused="is damaged: it has a byte of 0 in line 62"),
    "commas at the ends of lines": Table(table(x=noise).replace(b"\n", b",,\n"), columns={"x": ("numbers", 1)}),
    "a long row": Table(table(x=noise) + b"a,1,2\n", refused="line 62 has 3 cells instead of 2; data.separator"),
    "no header": Table(
        b"5.1,3.5,1\n4.9,3.5,2\n" * 9, target=2, refused="; if the first line is a row and not the header, add a header"
    ),
    "no header, twice the same": Table(
        b"1,1,a\n2,1,b\n" * 9, target=2, refused="two columns called '1'; .*; if the first line is a row"
    ),
    "only the target": Table(b"y\n" + b"a\nb\n" * 9, refused="has only the column 'y', the target"),
    "leading zeros in the middle of a large file": Table(
        table(rows=40_000, zip=lambda i: f"{i % 100 if 15_000 < i < 25_000 else 10_000 + i % 100:05}"),
        columns={"zip": ("codes", 200)},
    ),
    "points and commas": Table(
        table(";", x=lambda i: f"1.{100 + i},5"),
        {"decimal": "comma"},
        refused="if the points separate thousands, add 'data.kinds={x:amounts}'; otherwise leave the column out",
    ),
    "points and commas as amounts": Table(
        table(";", x=lambda i: f"1.{100 + i},5"),
        {"decimal": "comma", "kinds": {"x": "amounts"}},
        columns={"x": ("amounts", 1)},
    ),
    "an unknown encoding": Table(
        table(x=noise), {"encoding": "utf-9"}, refused="encoding='utf-9' is not known; choose"
    ),
    "names that are numbers": Table(
        table(x=noise).replace(b"y,x", b"1,2020"), target=1, columns={"2020": ("numbers", 1)}
    ),
    "names that are words of YAML": Table(
        table(x=noise, w=word).replace(b"y,x,w", b"true,null,no"),
        {"drop": [False]},
        target=True,
        columns={"null": ("numbers", 1)},
    ),
    "prices as classes": Table(
        table(rows=600, x=noise, y=lambda i: int(SHUFFLED[i]) % 300 if i < 300 else int(SHUFFLED[i - 300]) % 300),
        said=["looks like a quantity, but each number becomes a class; task=regression predicts the quantity"],
    ),
    "whole prices, one of them once": Table(
        table(x=noise, y=lambda i: int(SHUFFLED[i]) % 300),
        refused="has only one example of class .*; it looks like a quantity: try task=regression",
    ),
    "measurements": Table(table(x=noise, y=lambda i: f"{i / 7:.3f}"), classes=[]),
    "few measurements": Table(
        table(x=noise, y=lambda i: ("0.5", "1.0", "1.5")[i % 3]),
        classes=[],
        said=["target 'y' has 3 different numbers and is predicted as a number; task=classification takes them as"],
    ),
    "prices in dollars": Table(
        table(x=noise, y=lambda i: f"${i / 7:.2f}"), refused="looks like a quantity: try task=regression"
    ),
    "prices in dollars as numbers": Table(
        table(x=noise, y=lambda i: f"${i / 7:.2f}"), task="regression", classes=[], columns={"x": ("numbers", 1)}
    ),
    "prices with decimal commas": Table(
        table(";", x=noise, y=lambda i: f"{i / 7:.2f}".replace(".", ",")),
        task="regression",
        refused=r"'0,00' in row 1 of the target 'y'.*if the comma is a decimal mark, add data.decimal=comma",
    ),
    "a different name in each row as classes": Table(
        table(x=noise, y=lambda i: f"Ms {SHUFFLED[i]}"),
        refused="only one example of class '[^']*'; every class needs two$",
    ),
}
