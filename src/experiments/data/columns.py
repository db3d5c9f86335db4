"""What the columns of a table hold, and which of them are features."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from .forms import Column, ColumnUse
from .textfiles import is_padded

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["numbers", "texts", "amounts", "dates"]
"""What `data.kinds` can make of a column."""
MOST_TEXTS = 256
"""A text column with more different texts is refused: it holds names, or is a mistake."""
UNIQUE = 0.5
"""A text column with more different texts than this share of its cells holds names or other identifiers."""
DATES = 0.9
"""The share of dates among the texts of a column of dates."""
FEWEST_IDENTIFIERS = 20
"""With fewer different texts, a column may be a small set of categories."""
TRUTHS = {"true": 1.0, "false": 0.0}
SENTINELS = (-99, -999, -9999, -99999)
"""Numbers that often stand for a missing cell."""
QUESTIONABLE = ("?", ".", "-", "--", "*", "unknown", "missing", "none", "null", "#n/a", "n.a.", "n/a", "na")
"""Texts, in lower case, that often stand for a missing cell."""
REPEATED = 10
"""How often a text of a column has to be there on average, for each one to be read as a number only once."""
SAMPLED = 2000
"""The different texts of a column from which its kind is recognised; every cell is read afterwards."""

CURRENCY = r"[$€£¥₹₽₩]|USD|EUR|GBP|CHF|JPY|CNY|INR|CAD|AUD"
UNIT = r"%|‰|°[CF]|kg|mg|g|lbs?|oz|km/h|mph|km|cm|mm|mi|ft|kWh|kW|MB|GB|ml|ms|min|hrs?|h"
SPACES = " '\u2019\u00a0\u202f"
"""What separates thousands in other countries than a comma or a point."""
AMOUNT = re.compile(
    rf"(?P<sign>[-+]?)\s*(?P<before>{CURRENCY})?\s*(?P<inner>[-+]?)"
    rf"(?P<number>\d{{1,3}}(?:[,{SPACES}]\d{{3}})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)\s*(?P<after>{CURRENCY}|{UNIT})?"
)
AMOUNT_COMMA = re.compile(
    rf"(?P<sign>[-+]?)\s*(?P<before>{CURRENCY})?\s*(?P<inner>[-+]?)"
    rf"(?P<number>\d{{1,3}}(?:[.{SPACES}]\d{{3}})+(?:,\d+)?|\d+(?:,\d+)?|,\d+)\s*(?P<after>{CURRENCY}|{UNIT})?"
)
"""The same with a decimal comma."""
MONTHS_BY_NAME = {
    "Jan": "jan|ene|gen",
    "Feb": "feb|f[eé]v",
    "Mar": "mar|mär|maer|mrz",
    "Apr": "apr|avr|abr",
    "May": "ma[yijg]|mei",
    "Jun": "jun|juin|giu",
    "Jul": "jul|juil|lug",
    "Aug": "aug|ao[uû]|ago",
    "Sep": "sep|set",
    "Oct": "o[ckt]t|out",
    "Nov": "nov",
    "Dec": "d[eéi][cz]",
}
"""The beginnings of the months' names in some languages, by the English ones."""
MONTHS = rf"(?:{'|'.join(MONTHS_BY_NAME.values())})[^\W\d_]*\.?"
TIME = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s?[ap]m)?"
ZONE = r"(?:\s?(?:z|utc|[+-]\d{2}:?\d{2}))?"
DATE = re.compile(
    r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
    rf"(?:(?:(?P<year>\d{{4}})(?P<sep>[-/.])(?P<month>\d{{1,2}})(?P=sep)(?P<day>\d{{1,2}})"
    rf"|(?P<first>\d{{1,2}})(?P<mark>[-/.])(?P<second>\d{{1,2}})(?P=mark)(?:\d{{4}}|\d{{2}})"
    rf"|\d{{1,2}}\.?[\s-]?{MONTHS},?[\s-]?\d{{2,4}}|{MONTHS}\s?\d{{1,2}},?\s\d{{4}}|{MONTHS}[\s-]\d{{4}}"
    rf"|\d{{4}}年\d{{1,2}}月(?:\d{{1,2}}日)?|\d{{4}}[-/](?P<alone>\d{{2}}))(?:[t\s,]+{TIME}{ZONE})?|{TIME})",
    re.IGNORECASE,
)
IDENTIFIER_NAME = re.compile(
    r"(?i:id|ids|index|idx|row|row_?(?:no|nr|num|number|id)|rownames?|no\.?|nr\.?|#|unnamed:? ?\d*|uuid|guid|key|"
    r".*[_ .-](?:id|uuid|guid|key|idx))?|.*[a-z](?:Id|ID)"
)
"""Names of columns that number or name the rows; a table that was saved with its index has a column without name."""


def is_numeric(column: pd.Series, decimal: str = ".") -> bool:
    """Whether a column has numbers.

    Raises:
        ValueError: most of its cells are numbers but some are not, or they are numbers with another decimal mark.
    """
    from pandas.api.types import is_numeric_dtype

    if is_numeric_dtype(column):
        return True
    present = column.dropna()
    odd = present[as_numbers(present, decimal).isna()]
    if 0 < len(odd) < len(present) / 2:
        file, row = odd.index[0]
        texts = list(odd.unique())
        mark = ""
        if len(texts) == 1:
            mark = f"add 'data.missing_marks=[{quoted(texts[0])}]' if it stands for a missing cell, "
        raise ValueError(
            f"{file} has numbers in column {column.name!r}, but {odd.iloc[0]!r} in row {row}; "
            f"correct it, {mark}or leave the column out with 'data.drop=[{quoted(str(column.name))}]'"
        )
    other = "," if decimal == "." else "."
    marked = odd[odd.str.contains(other, regex=False)]
    if len(marked) and as_numbers(odd.str.replace(other, ""), decimal).notna().mean() > 0.5:
        file, row = marked.index[0]
        where = f"such as {marked.iloc[0]!r} in row {row} of column {column.name!r}"
        both = decimal == "," and odd.str.fullmatch(r".*\.\d{3}.*,.*").any()
        if both and affix_of(map(str, present.unique()[:SAMPLED]), decimal) == "":
            raise ValueError(
                f"{file} has numbers with points and commas, {where}; if the points separate "
                f"thousands, add 'data.kinds={{{column.name}:amounts}}'; otherwise leave the column out with "
                f"'data.drop=[{quoted(str(column.name))}]'"
            )
        if decimal == ",":
            raise ValueError(
                f"{file} has numbers with points, {where}; use data.decimal=point, and remove separators of thousands"
            )
        if not all(re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?|[-+]?\d+(\.\d+)?", text) for text in odd):
            raise ValueError(
                f"{file} has numbers with commas, {where}; if these are decimal commas, add "
                f"data.decimal=comma; otherwise leave the column out with 'data.drop=[{quoted(str(column.name))}]'"
            )
        raise ValueError(
            f"{file} has numbers with commas, {where}; if these are decimal commas, add "
            f"data.decimal=comma; if they separate thousands, add 'data.kinds={{{column.name}:amounts}}'; "
            f"otherwise leave the column out with 'data.drop=[{quoted(str(column.name))}]'"
        )
    return len(odd) == 0


def as_numbers(column: pd.Series, decimal: str) -> pd.Series:
    """Return texts as numbers, nan for those that are not."""
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    if is_numeric_dtype(column):
        return column
    if decimal == ",":
        points = column.str.contains(".", regex=False, na=False)  # of thousands, perhaps
        column = column.str.replace(",", ".", regex=False).mask(points)
    codes, texts = pd.factorize(column, use_na_sentinel=False)
    if len(texts) * REPEATED > len(column):
        return pd.to_numeric(column, errors="coerce")
    numbers = pd.to_numeric(pd.Series(texts), errors="coerce").to_numpy()  # each text once, which is faster
    return pd.Series(numbers[codes], index=column.index, name=column.name)


def quoted(text: str) -> str:
    """Return a text as an item of a list on the command line."""
    return text if re.fullmatch(r"\w+", text) else '"' + text.replace('"', '\\"') + '"'


def used_as(name: str, kind: Kind) -> str:
    """Return how to use a column as a kind: the setting, if the command line can hold the name of the column."""
    if re.fullmatch(r"\w[\w .%/-]*", name):
        return f"'data.kinds={{{name}:{kind}}}' uses it"
    return f"with a plain name in the header, 'data.kinds={{<name>:{kind}}}' uses it"


def affix_of(texts: Iterable[str], decimal: str) -> str | None:
    """Return the currency, unit or percent sign that all texts have around a number; None if they do not."""
    pattern = AMOUNT if decimal == "." else AMOUNT_COMMA
    matches = [pattern.fullmatch(text) for text in texts]
    affixes = {(match["before"] or "") + (match["after"] or "") if match else None for match in matches}
    return affixes.pop() if len(affixes) == 1 else None


def amount(text: str, decimal: str) -> float:
    """Return the number of a text such as '-$1,000.50', nan if it is none."""
    match = (AMOUNT if decimal == "." else AMOUNT_COMMA).fullmatch(text)
    if match is None:
        return np.nan
    number = re.sub(f"[{SPACES}{',' if decimal == '.' else '.'}]", "", match["number"]).replace(decimal, ".")
    return float(number) * (-1.0 if "-" in (match["sign"], match["inner"]) else 1.0)


def are_dates(texts: Iterable[str]) -> bool:
    """Whether all texts are dates or times of day."""
    return all(is_date(text) for text in texts)


def mostly_dates(texts: Sequence[str]) -> bool:
    """Whether nearly all texts are dates; the others may be typing errors."""
    return sum(map(is_date, texts)) >= DATES * len(texts)


def refuse_odd_amounts(column: pd.Series, texts: Sequence[str], name: str, decimal: str) -> None:
    """Refuse a column of amounts in which some cells are none, or have another unit.

    Raises:
        ValueError: names the first such cell.
    """
    affixes = {text: affix_of([text], decimal) for text in texts[:SAMPLED]}
    counts = Counter(affix for affix in affixes.values() if affix)
    if not counts or sum(counts.values()) <= len(affixes) / 2:
        return
    most = counts.most_common(1)[0][0]
    odd = column[column.notna() & column.isin([text for text, affix in affixes.items() if affix != most])]
    file, row = odd.index[0]
    raise ValueError(
        f"{file} has {affix_name(most)} in column {name!r}, but {odd.iloc[0]!r} in row {row}; correct it, add "
        f"'data.missing_marks=[{quoted(odd.iloc[0])}]' if it stands for a missing cell, or leave the column out with "
        f"'data.drop=[{quoted(name)}]'"
    )


def refuse_other_decimal(column: pd.Series, texts: Sequence[str], name: str, decimal: str) -> None:
    """Refuse a column of amounts with the other decimal mark.

    Raises:
        ValueError: with the first amount, and the setting.
    """
    other, setting = (",", "comma") if decimal == "." else (".", "point")
    if affix_of(texts[:SAMPLED], other):
        first = column.dropna()
        first = first[first.str.contains(other, regex=False)]
        file, row = first.index[0]
        raise ValueError(
            f"{file} has amounts with decimal {setting}s, such as {first.iloc[0]!r} in row {row} of column {name!r}; "
            f"add data.decimal={setting}, or leave the column out with 'data.drop=[{quoted(name)}]'"
        )


def is_date(text: str) -> bool:
    """Whether a text is a date or a time of day."""
    match = DATE.fullmatch(text.strip())
    if match is None:
        return False
    if match["year"]:
        return 1 <= int(match["month"]) <= 12 and 1 <= int(match["day"]) <= 31
    if match["first"]:
        low, high = sorted((int(match["first"]), int(match["second"])))
        return 1 <= low <= 12 and 1 <= high <= 31
    return not match["alone"] or 1 <= int(match["alone"]) <= 12


def day_first(texts: Iterable[str]) -> bool:
    """Whether dates such as 3/4/2020 have the day before the month: with points, or if a first number is above 12."""
    matches = [DATE.fullmatch(text.strip()) for text in texts]
    return any(m["mark"] == "." or int(m["first"]) > 12 for m in matches if m and m["first"])


def days(column: pd.Series, *, first: bool) -> pd.Series:
    """Return the days since 1970 of dates, nan for what is not a date; a time of day is a share of a day.

    Args:
        column: texts, or numbers such as 20240131.
        first: whether the day is before the month.
    """
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    if is_numeric_dtype(column):
        texts = column.where(column % 1 == 0).astype("Int64").astype("string")  # pandas 4 takes numbers as seconds
        dates = pd.to_datetime(texts, format="%Y%m%d", errors="coerce", utc=True)
    else:
        clock = column.str.fullmatch(TIME, case=False).fillna(False).astype(bool)
        column = column.map({text: in_english(text) for text in map(str, column.dropna().unique())})
        dates = pd.to_datetime(
            column.where(~clock, "1970-01-01 " + column), format="mixed", dayfirst=first, errors="coerce", utc=True
        )
    return (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)


def in_english(text: str) -> str:
    """Return a date with the English name of its month, or in digits if it is written as 2024年1月31日."""
    text = re.sub(r"(\d{4})年(\d{1,2})月(?:(\d{1,2})日)?", lambda m: f"{m[1]}-{int(m[2]):02}-{int(m[3] or 1):02}", text)
    word = re.search(r"[^\W\d_]{3,}", text)
    names = (name for name, starts in MONTHS_BY_NAME.items() if word and re.match(starts, word[0], re.IGNORECASE))
    month = next(names, None)
    return (
        text
        if month is None or word is None
        else f"{text[: word.start()]}{month}{text[word.end() :].removeprefix('.')}"
    )


def recognised(
    table: pd.DataFrame, kinds: Mapping[str, Kind], decimal: str, blocks: bool
) -> tuple[list[Column], list[ColumnUse]]:
    """Return the columns of a table that are features, and what becomes of every column.

    Args:
        table: without the class's column.
        kinds: what a user makes of columns.
        decimal: the decimal mark.
        blocks: whether the rows are sorted by class, so that the number of a row tells its class.

    Raises:
        ValueError: a column holds neither numbers nor a limited number of texts, or no column is a feature.
    """
    columns, uses = [], []
    for name in map(str, table.columns):
        column, use = one(table[name], name, kinds.get(name), decimal, blocks)
        uses.append(use)
        if column is not None:
            columns.append(column)
    if not columns:
        listed = ", ".join(f"{use.name!r} ({use.holds})" for use in uses[:10])
        raise ValueError(
            f"{table.index[0][0]} has no column that is a feature: {listed}; {used_as(uses[0].name, 'texts')}"
        )
    return columns, uses


def one(
    column: pd.Series, name: str, chosen: Kind | None, decimal: str, blocks: bool
) -> tuple[Column | None, ColumnUse]:
    """Return a column as a feature, None if it is left out, and what becomes of it; see `recognised`.

    Raises:
        ValueError: the cells do not fit the kind that is chosen for the column.
    """
    from pandas.api.types import is_numeric_dtype

    numeric_already = is_numeric_dtype(column)
    if chosen is None and (numeric_already or not has_other_kind(column, decimal)) and is_numeric(column, decimal):
        return of_numbers(column if numeric_already else as_numbers(column, decimal), name, blocks)
    if chosen == "numbers":
        return Column(name), ColumnUse(name, "numbers", 1, "data.kinds")
    texts = sorted(map(str, column.dropna().unique()))
    if chosen == "dates":
        first = not numeric_already and day_first(texts)
        return Column(name, "dates", day_first=first), ColumnUse(name, "dates", 1, "days since 1970 (data.kinds)")
    if chosen == "amounts":
        affix = affix_of(texts[:SAMPLED], decimal)
        if affix is None:
            raise ValueError(
                f"kinds={{{name}:amounts}} does not fit {column.index[0][0]}: the cells of {name!r}, such as "
                f"{texts[0]!r}, are not all numbers with one currency, unit or percent sign"
            )
        return Column(name, "amounts", affix=affix), ColumnUse(name, affix_name(affix), 1, "data.kinds")
    return of_texts(column, texts, name, chosen, decimal)


def has_other_kind(column: pd.Series, decimal: str) -> bool:
    """Whether a column of texts holds amounts, dates or numbers with leading zeros."""
    texts = list(map(str, column.dropna().unique()[:SAMPLED]))
    return bool(texts) and (bool(affix_of(texts, decimal)) or are_dates(texts) or is_padded(set(texts)))


def of_numbers(column: pd.Series, name: str, blocks: bool) -> tuple[Column | None, ColumnUse]:
    """Return what becomes of a column of numbers."""
    values = column.to_numpy()
    low, high = values.min(), values.max()
    if low != low:  # nan
        values = values[~np.isnan(values)]
        low, high = values.min(), values.max()
    remedy = used_as(name, "numbers")
    if low == high:
        return None, ColumnUse(name, "one value", 0, f"left out: every cell is {low:g}; {remedy}")
    whole = values.dtype.kind in "iu" or all((part == np.floor(part)).all() for part in (values[:1000], values))
    complete = whole and len(values) == len(column)
    if complete and all(is_count(part) for part in by_file(column, values)):
        if IDENTIFIER_NAME.fullmatch(name) or blocks:
            why = "and the rows are sorted by class" if blocks else "as its name says"
            return None, ColumnUse(name, "row numbers", 0, f"left out: it counts the rows, {why}; {remedy}")
        note = f"it counts the rows; leave it out with 'data.drop=[{quoted(name)}]' if it means nothing"
        return Column(name), ColumnUse(name, "numbers", 1, note, doubtful=True)
    if complete and len(values) >= FEWEST_IDENTIFIERS and len(np.unique(values)) == len(values):
        if IDENTIFIER_NAME.fullmatch(name):
            return None, ColumnUse(name, "identifiers", 0, f"left out: a different number in each row; {remedy}")
        if high - low == len(values) - 1:
            without = f"'data.drop=[{quoted(name)}]'"
            note = f"it numbers the rows in another order; leave it out with {without} if it means nothing"
            return Column(name), ColumnUse(name, "numbers", 1, note, doubtful=True)
    if whole and IDENTIFIER_NAME.fullmatch(name) and len(np.unique(values)) > 2:
        texts = used_as(name, "texts").removesuffix(" uses it")
        note = (
            f"its name says that it names things, and it is used as an amount; {texts} takes one feature per value, "
            f"'data.drop=[{quoted(name)}]' leaves it out"
        )
        return Column(name), ColumnUse(name, "numbers", 1, note)
    if whole and low >= 19000101 and high <= 21001231 and compact_dates(values):
        return None, left_out_dates(name, f"{int(low)}")
    for mark in SENTINELS:
        if low == mark and bool((values[values != mark] >= 0).all()):
            count = int((values == mark).sum())
            cells = f"{count} cell{'s are' if count > 1 else ' is'} {mark}"
            note = f"{cells}; 'data.missing_marks=[{mark}]' reads this as missing"
            return Column(name), ColumnUse(name, "numbers", 1, note, doubtful=True)
    return Column(name), ColumnUse(name, "numbers", 1)


def by_file(column: pd.Series, values: np.ndarray) -> list[np.ndarray]:
    """Divide the values of a column into those of each file."""
    files = column.index.codes[0]  # type: ignore[attr-defined]
    return np.split(values, np.flatnonzero(np.diff(files)) + 1)


def is_count(values: np.ndarray) -> bool:
    """Whether numbers go up or down by 1 from row to row."""
    if len(values) > 1 and abs(values[-1] - values[0]) != len(values) - 1:
        return False
    steps = np.diff(values)
    return bool((steps == 1).all() or (steps == -1).all())


def compact_dates(values: np.ndarray) -> bool:
    """Whether whole numbers are dates such as 20240131."""
    month, day = values // 100 % 100, values % 100
    return bool(((month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)).all())


def left_out_dates(name: str, example: str) -> ColumnUse:
    """Return what becomes of a column of dates."""
    return ColumnUse(
        name, "dates", 0, f"left out: dates such as {example}; {used_as(name, 'dates')} as a number of days"
    )  # fmt: skip


def affix_name(affix: str) -> str:
    """Return what a column of numbers with an affix holds."""
    if affix in ("%", "‰"):
        return "percentages"
    return f"money ({affix})" if re.fullmatch(CURRENCY, affix) else f"amounts ({affix})" if affix else "amounts"


def of_texts(
    column: pd.Series, texts: Sequence[str], name: str, chosen: Kind | None, decimal: str
) -> tuple[Column | None, ColumnUse]:
    """Return what becomes of a column of texts.

    Raises:
        ValueError: there are too many different texts.
    """
    remedy = used_as(name, "texts")
    if chosen is None:
        affix = affix_of(texts[:SAMPLED], decimal)
        if affix:
            if len({amount(text, decimal) for text in texts}) == 1:
                return None, ColumnUse(name, "one value", 0, f"left out: every cell is {texts[0]!r}; {remedy}")
            return Column(name, "amounts", affix=affix), ColumnUse(name, affix_name(affix), 1, "read as numbers")
        if affix == "" and not is_padded(set(texts)):
            note = f"read as numbers: {texts[-1]!r} is {amount(texts[-1], decimal):g}; {remedy} as texts"
            return Column(name, "amounts"), ColumnUse(name, "numbers", 1, note)
        refuse_other_decimal(column, texts, name, decimal)
        refuse_odd_amounts(column, texts, name, decimal)
        if len(texts) > 1 and mostly_dates(texts[:SAMPLED]):
            return None, left_out_dates(name, texts[0])
        if len(texts) == 1:
            return None, ColumnUse(name, "one value", 0, f"left out: every cell is {texts[0]!r}; {remedy}")
        present = int(column.notna().sum())
        if len(texts) >= FEWEST_IDENTIFIERS and len(texts) > UNIQUE * present:
            why = "a different text in each row" if len(texts) == present else f"{len(texts)} texts in {present} rows"
            return None, ColumnUse(name, "identifiers", 0, f"left out: {why}; {remedy}")
    if len(texts) > MOST_TEXTS:
        raise ValueError(
            f"{column.index[0][0]} has {len(texts)} different texts in column {name!r}, too many for one-hot "
            f"features; leave it out with 'data.drop=[{quoted(name)}]'"
        )
    if {text.lower() for text in texts} <= TRUTHS.keys():
        return Column(name, "truths"), ColumnUse(name, "truths", 1)
    codes = "codes" if is_padded(set(texts)) else "texts"
    note = f"leading zeros: one feature per code; {used_as(name, 'numbers')} as numbers"
    marks = [text for text in texts if text.lower() in QUESTIONABLE]
    if marks:
        note = f"{marks[0]!r} is one of the texts; 'data.missing_marks=[{quoted(marks[0])}]' reads it as missing"
    use = ColumnUse(name, codes, len(texts), note if marks or codes == "codes" else "", doubtful=bool(marks))
    return Column(name, "texts", tuple(texts)), use
