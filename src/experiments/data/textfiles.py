"""How a text file is divided into cells: its encoding, the lines before the header, the separator."""

from __future__ import annotations

import codecs
import csv
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader, FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from .progress import Progress

if TYPE_CHECKING:
    import pandas as pd

SAMPLE = 2**16
"""The bytes from which the layout of a file is found."""
SAMPLE_ROWS = 200
CHUNK = 2**25
"""The bytes of a large file that are read at a time."""
HUGE = 2**30
"""The bytes of a file from which its progress is shown; pandas reads a path faster than an open file."""
SLOW = 3.0
"""Seconds between two lines about the progress of reading."""
AUTO = "auto"
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars", " ": "spaces"}
"""The separators that are found by themselves, with their names."""
WORDS = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|", "space": " "}
"""Names of separators that a command line can hardly hold."""
OTHERS = {
    b"\x1f\x8b": "a compressed file (gzip); unpack it first",
    b"PK\x03\x04": "an Excel file or another zip archive; save the table as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel file; save the table as CSV",
    b"PAR1": "a Parquet file; save the table as CSV",
    b"\x89HDF": "an HDF5 file; save the table as CSV",
    b"SQLite format 3": "a SQLite database; save the table as CSV",
    b"%PDF": "a PDF file; save the table as CSV",
    b"\x93NUMPY": "an .npy file; save the arrays with numpy.savez and read them with data=npz",
    b"{": "JSON; save the table as CSV",
    b"[{": "JSON; save the table as CSV",
    b"<": "HTML or XML, such as the page of an error; save the table as CSV",
}
"""The first bytes of files that are no tables of text, and what they are."""
MISSING_TEXTS = ["", "NA", "N/A", "NaN", "nan", "NULL", "null"]
"""The texts of a missing cell."""


@dataclass(frozen=True)
class TextLayout:
    """How a text file is divided into cells.

    Args:
        encoding: a name that Python knows.
        skip: the number of lines before the header.
        separator: the character between two cells.
        notes: sentences about what was found.
        codes: the positions of columns whose numbers have leading zeros, such as 007 and 012.
    """

    encoding: str
    skip: int
    separator: str
    notes: tuple[str, ...] = ()
    codes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Reading:
    """The settings with which tables are read.

    Args:
        separator: one character, or auto.
        encoding: a name that Python knows, or auto.
        decimal: the decimal mark.
        marks: further texts of a missing cell.
        likely: the separator to try first if it is found automatically.
    """

    separator: str = AUTO
    encoding: str = AUTO
    decimal: Literal[".", ","] = "."
    marks: tuple[str, ...] = ()
    likely: str = ","

    @property
    def missing(self) -> list[str]:
        """The texts of a missing cell."""
        return [*MISSING_TEXTS, *self.marks]


def one_character(separator: str) -> str:
    r"""Return the separator: auto, or one character, which may be written as a word or as \t.

    Raises:
        ValueError: the separator is not one character, or has another meaning in a csv file.
    """
    character = WORDS.get(separator, separator)
    if character != AUTO and (len(character) != 1 or character in '"\r\n'):
        raise ValueError(
            f"separator={separator!r} must be one character, such as ',' or ';', one of the words "
            f"{', '.join(word for word in WORDS if word.isalpha())}, or auto"
        )
    return character


def known_encoding(encoding: str) -> str:
    """Return the name of an encoding.

    Raises:
        ValueError: Python does not know it.
    """
    try:
        return encoding if encoding == AUTO else codecs.lookup(encoding).name
    except LookupError:
        raise ValueError(
            f"encoding={encoding!r} is not known; choose from auto, utf-8, latin-1, cp1252, utf-16 or another that "
            "Python knows"
        ) from None


def layout_of(path: str, file: str, reading: Reading) -> TextLayout:
    """Return the layout of a file, from its first bytes.

    Args:
        path: the file.
        file: its name in an error.
        reading: the settings; what is `auto` is found.

    Raises:
        ValueError: the file is not text in the given encoding.
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as opened:
        raw = opened.read(SAMPLE)
        further = [part_at(opened, position) for position in further_positions(path)]
    refuse_others(raw, file)
    encoding = found_encoding(raw) if reading.encoding == AUTO else reading.encoding
    if reading.encoding in ("utf-8", "utf8"):
        encoding = "utf-8-sig"
    whole = len(raw) < SAMPLE
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(raw, final=whole)
    except UnicodeDecodeError:
        raise undecodable(file, encoding, reading.encoding == AUTO) from None
    if not encoding.startswith(("utf-16", "utf-32")):
        refuse_zero_bytes(path, file)
    lines = text.splitlines()
    if not whole:
        lines = lines[:-1]
    name, notes = Path(path).name, []
    if encoding not in ("utf-8-sig", "utf-8") and reading.encoding == AUTO:
        notes.append(f"{name} is text in {encoding} (found; data.encoding sets it)")
    skip, announced = leading_lines(lines)
    separator = reading.separator
    if separator == AUTO:
        separator = announced or found_separator(lines[skip:], reading.likely)
        if separator != ",":
            called = SEPARATORS.get(separator, repr(separator))
            notes.append(f"{name} is separated by {called} (found; data.separator sets it)")
    if skip and lines[skip - 1].startswith("#") and is_header(lines, skip, separator):
        skip -= 1
    if skip:
        plural = f"first {skip} lines" if skip > 1 else "first line"
        are = "are" if skip > 1 else "is"
        notes.append(f"{name}: the {plural} before the header {are} left out: {lines[0][:60]!r}")
    parts = [lines[skip + 1 :], *(part.decode(encoding, "ignore").splitlines()[1:-1] for part in further)]
    sample = [line for part in parts for line in part[:SAMPLE_ROWS]]
    return TextLayout(encoding, skip, separator, tuple(notes), zero_padded(sample, separator))


def further_positions(path: str) -> list[int]:
    """Return where a large file is read besides its beginning: in the middle, and near the end."""
    size = Path(path).stat().st_size
    return [start - start % 4 for start in (size // 2, size - SAMPLE)] if size > 3 * SAMPLE else []


def part_at(opened: BinaryIO, position: int) -> bytes:
    """Return some bytes of a file from a position on."""
    opened.seek(position)
    return opened.read(SAMPLE)


def refuse_others(raw: bytes, file: str) -> None:
    """Refuse a file of another kind.

    Args:
        raw: its first bytes.
        file: its name in an error.

    Raises:
        ValueError: with what it is.
    """
    if not raw.strip():
        raise ValueError(f"{file} is empty; give a csv file with a header")
    start = raw.lstrip()
    for magic, kind in OTHERS.items():
        if start.startswith(magic):
            raise ValueError(f"{file} is not a csv file but {kind}")


def refuse_zero_bytes(path: str, file: str) -> None:
    """Refuse a file with bytes of 0, which a computer that lost its power leaves; pandas cuts the cells there.

    Raises:
        ValueError: with the line of the first one.
    """
    part, start = bytearray(CHUNK), 0
    with Path(path).open("rb", buffering=0) as opened:
        while read := opened.readinto(part):
            if (found := part.find(0, 0, read)) >= 0:
                opened.seek(0)
                line = 1 + sum(block.count(b"\n") for block in blocks(opened, start + found))
                raise ValueError(f"{file} is damaged: it has a byte of 0 in line {line:,}; restore it from a copy")
            start += read


def blocks(opened: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the next bytes of a file."""
    while size > 0 and (block := opened.read(min(size, CHUNK))):
        size -= len(block)
        yield block


def undecodable(file: str, encoding: str, automatic: bool) -> ValueError:
    """Return the error for a file that is not text in an encoding."""
    if automatic:
        return ValueError(
            f"{file} is not text in UTF-8; give its encoding, such as data.encoding=latin-1, or save it in UTF-8"
        )
    return ValueError(f"{file} is not text in encoding={encoding!r}; try auto, utf-8, latin-1, cp1252 or utf-16")


def found_encoding(raw: bytes) -> str:
    """Return the encoding that the first bytes of a file show: UTF-32, UTF-16 or UTF-8."""
    if raw.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    pairs = max(1, len(raw) // 2)
    if raw[1::2].count(0) > 0.8 * pairs:
        return "utf-16-le"
    if raw[::2].count(0) > 0.8 * pairs:
        return "utf-16-be"
    return "utf-8-sig"


def leading_lines(lines: Sequence[str]) -> tuple[int, str | None]:
    """Return the number of lines before the header, and the separator that a line such as `sep=;` announces."""
    skip, announced = 0, None
    for line in lines:
        bare = line.strip().strip('"')
        if bare.lower().startswith("sep=") and len(bare) <= 5:
            announced = bare[4:] or "\t"
        elif line.strip() and not line.startswith("#"):
            break
        skip += 1
    return (skip, announced) if skip < len(lines) else (0, None)


def is_header(lines: Sequence[str], skip: int, separator: str) -> bool:
    """Whether the comment before the first line is the header: it has as many cells, of which the others have more
    than one."""
    cells = [len(row) for row in csv.reader(lines[skip - 1 : skip + 1], delimiter=separator)]
    return len(cells) == 2 and cells[0] == cells[1] > 1


def found_separator(lines: Sequence[str], likely: str) -> str:
    """Return the separator that divides all lines into the same number of cells, or most of them.

    Args:
        lines: from the header on.
        likely: the separator to prefer.
    """
    best, share = likely, 0.0
    for separator in dict.fromkeys([likely, *SEPARATORS]):
        if separator == " " and share:
            continue  # texts have spaces too
        try:
            rows = csv.reader(lines[:SAMPLE_ROWS], delimiter=separator, skipinitialspace=True)
            counts = [len(row) for row in rows if row]
        except csv.Error:
            continue
        if counts and counts[0] > 1 and (same := counts.count(counts[0]) / len(counts)) > share:
            best, share = separator, same
    return best


def zero_padded(lines: Sequence[str], separator: str) -> tuple[int, ...]:
    """Return the positions of columns whose cells are digits of one length, some with leading zeros."""
    try:
        rows = [row for row in csv.reader(lines, delimiter=separator, skipinitialspace=True) if row]
    except csv.Error:
        return ()
    columns: list[set[str]] = [set() for _ in range(max(map(len, rows), default=0))]
    for row in rows:
        for column, cell in zip(columns, row, strict=False):
            column.add(cell.strip())
    return tuple(number for number, column in enumerate(columns) if is_padded(column))


def is_padded(texts: set[str]) -> bool:
    """Whether texts are digits of one length above 1, some of them with leading zeros; missing cells do not count."""
    present = texts - set(MISSING_TEXTS)
    return (
        all(text.isdecimal() for text in present)
        and len({len(text) for text in present}) == 1
        and len(next(iter(present))) > 1
        and any(text.startswith("0") for text in present)
    )


def parsed(source: str | BinaryIO, layout: TextLayout, reading: Reading, **settings: Any) -> Any:
    """Read a csv file with pandas; the settings that every reading shares are filled in."""
    import pandas as pd

    settings = {"keep_default_na": False, "na_values": reading.missing, "low_memory": False, **settings}
    return pd.read_csv(
        source,
        sep=layout.separator,
        encoding=layout.encoding,
        skiprows=layout.skip,
        decimal=reading.decimal,
        skipinitialspace=True,
        index_col=False,
        **settings,
    )


def all_rows(path: str, layout: TextLayout, reading: Reading, columns: int, texts: set[int]) -> pd.DataFrame:
    """Read all rows of a file; the progress of a huge one is shown.

    pandas converts the rows in small pieces, which is more than twice as fast as all at once. If a column has numbers
    in one piece and texts in another, the file is read again, all at once.

    Args:
        path: the file.
        layout, reading: how it is read.
        columns: their number.
        texts: the positions of the columns that are read as texts in any case.
    """
    from pandas.errors import DtypeWarning

    settings: dict[str, Any] = {"header": 0, "names": range(columns), "dtype": dict.fromkeys(texts, str)}
    with warnings.catch_warnings():
        warnings.simplefilter("error", DtypeWarning)
        try:
            if Path(path).stat().st_size < HUGE:
                return parsed(path, layout, reading, low_memory=True, **settings)
            with BufferedReader(ReportedFile(path)) as file:
                return parsed(file, layout, reading, low_memory=True, **settings)
        except DtypeWarning:
            return parsed(path, layout, reading, **settings)


class ReportedFile(FileIO):
    """A file that shows how far it has been read, if that takes long."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.size, self.progress = Path(path).stat().st_size, Progress(SLOW)

    def readinto(self, buffer: Any) -> int | None:
        """Read bytes into a buffer, and return their number."""
        count = super().readinto(buffer)
        share = 100 * self.tell() / max(1, self.size)
        self.progress.report("%s: %.0f %% of %.0f MB", Path(str(self.name)).name, share, self.size / 1e6)
        return count


def stripped(column: pd.Series, missing: Sequence[str]) -> pd.Series:
    """Return a column of texts without spaces around them, nan for missing cells.

    pandas reads a column of truth values with gaps as objects; they become texts again.
    """
    import pandas as pd

    codes, cells = pd.factorize(column)
    texts = [str(cell).strip() for cell in cells]
    gaps = set(missing)
    clean = np.array([*(np.nan if text in gaps else text for text in texts), np.nan], dtype=object)
    return pd.Series(clean[codes], index=column.index, name=column.name, dtype=object)
