"""Texts cut into characters, for models that predict the next one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from . import memory
from .forms import TokenForm
from .sequences import PADDING
from .sources import Source

UNKNOWN = ""
"""The name of token 0, which stands for every character that the training part does not have."""
LICENSED = ("matplotlib", "numpy", "pandas", "pillow", "scikit-learn", "scipy", "torch")
"""The packages whose licences are the text without a path, if they are installed."""
LICENCE = re.compile(r"(licen[cs]e|copying|notice)[^/]*$", re.IGNORECASE)
PER_CHARACTER = 32
"""Bytes of a character in the windows of inputs and targets."""
FEWEST_WINDOWS = 2


def text(
    path: str | None = None,
    length: Annotated[int, Ge(2)] = 64,
    characters: Annotated[int, Ge(1)] | None = None,
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2,
    context: Annotated[int, Ge(2)] | None = None,
) -> Source:
    """A text as windows of characters, or as lines; the target at each position is the next character.

    The windows do not overlap. The last part of the text is for testing; the vocabulary is that of the rest.

    Args:
        path: of a text file in UTF-8; None for the licences of some installed packages, without repeated paragraphs.
        length: characters of a window, the most that a prediction can look back.
        characters: the number of characters to use, from the beginning; None for all.
        test_fraction: the share of the text for testing.
        context: each line is an example, of which every `context` characters are one; None for windows.

    Raises:
        ValueError: the file cannot be read, or the text is too short for the windows.
    """
    content = licences() if path is None else read(path)
    content = content[:characters]
    memory.require(PER_CHARACTER * len(content), f"a text of {len(content):,} characters")
    cut = len(content) - round(test_fraction * len(content))
    name = "the text" if path is None else f"path={path!r}"
    if context is not None:
        return of_lines(content, name, context, test_fraction)
    least = FEWEST_WINDOWS * length + 1
    if min(cut, len(content) - cut) < least:
        parts = f"{cut:,} characters to train on and {len(content) - cut:,} for testing"
        raise ValueError(f"{name} has {parts}; windows of length={length} need at least {least:,} of each")
    vocabulary = (UNKNOWN, *sorted(set(content[:cut])))
    numbers = {character: number for number, character in enumerate(vocabulary)}
    tokens = torch.tensor([numbers.get(character, 0) for character in content])
    (x_train, y_train), (x_test, y_test) = windows(tokens[:cut], length), windows(tokens[cut:], length)
    unseen = int((tokens[cut:] == 0).sum())
    notes = [f"{len(content):,} characters, {len(vocabulary) - 1} different ones to train on"]
    if unseen:
        notes.append(f"{unseen:,} characters of the test part are not in the training part and count as unknown")
    follows = {part: torch.arange(len(x)) > 0 for part, x in (("train", x_train), ("test", x_test))}
    return Source(
        x_train, y_train, x_test, y_test, targets=vocabulary, form=TokenForm(vocabulary), kind="tokens",
        notes=tuple(notes), follows=follows,
    )  # fmt: skip


def of_lines(content: str, name: str, context: int, test_fraction: float) -> Source:
    """Return the lines of a text as sequences of unequal lengths: the first character is predicted from a line break.

    Args:
        content: the text; empty lines are left out.
        name: of the text in an error.
        context, test_fraction: see `text`.

    Raises:
        ValueError: there are too few lines.
    """
    lines = [line for line in content.splitlines() if line]
    cut = len(lines) - round(test_fraction * len(lines))
    if min(cut, len(lines) - cut) < FEWEST_WINDOWS:
        raise ValueError(
            f"{name} has {len(lines):,} lines; context={context} needs at least two to train on and to test"
        )
    vocabulary = (UNKNOWN, *sorted({"\n", *"".join(lines[:cut])}))
    numbers = {character: number for number, character in enumerate(vocabulary)}
    cuts = [pieces(part, context, numbers) for part in (lines[:cut], lines[cut:])]
    parts = [[piece for line in part for piece in line] for part in cuts]
    follows = {name: continued(part) for name, part in zip(("train", "test"), cuts, strict=True)}
    longest = max(len(piece) for part in parts for piece in part) - 1
    (x_train, y_train), (x_test, y_test) = (shifted(part, longest) for part in parts)
    more = sum(map(len, parts)) - len(lines)
    notes = [
        f"{len(lines):,} lines of at most {longest:,} characters, {len(vocabulary) - 1} different ones to train on"
    ]
    if more:
        notes.append(
            f"longer lines are cut into parts of {context:,} characters (data.context), {more:,} more examples"
        )
    if unseen := int((x_test == 0).sum()):
        notes.append(f"{unseen:,} characters of the test part are not in the training part and count as unknown")
    return Source(
        x_train, y_train, x_test, y_test, targets=vocabulary, form=TokenForm(vocabulary), kind="tokens",
        notes=tuple(notes), padded=True, follows=follows,
    )  # fmt: skip


def pieces(lines: Sequence[str], context: int, numbers: Mapping[str, int]) -> list[list[list[int]]]:
    """Return the tokens of lines, each between two line breaks, in pieces of at most `context` and the next one."""
    found = []
    for line in lines:
        tokens = [numbers.get(character, 0) for character in f"\n{line}\n"]
        found.append([tokens[start : start + context + 1] for start in range(0, len(tokens) - 1, context)])
    return found


def continued(texts: Sequence[Sequence[object]]) -> Tensor:
    """Return whether each piece of some texts begins where the one before it ends, (pieces,)."""
    return torch.tensor([number > 0 for text in texts for number in range(len(text))])


def shifted(found: Sequence[Sequence[int]], length: int) -> tuple[Tensor, Tensor]:
    """Return pieces as inputs and the tokens that follow each, (pieces, length), padded at the ends."""
    memory.require(16 * length * len(found), f"{len(found):,} lines of {length:,} characters")
    x, y = (torch.full((len(found), length), PADDING) for _ in range(2))
    for row, piece in enumerate(found):
        tokens = torch.tensor(piece)
        x[row, : len(piece) - 1], y[row, : len(piece) - 1] = tokens[:-1], tokens[1:]
    return x, y


def windows(tokens: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Return windows of tokens and of those that follow each, (windows, length); a shorter rest is left out."""
    count = (len(tokens) - 1) // length
    return tokens[: count * length].view(count, length), tokens[1 : count * length + 1].view(count, length)


def read(path: str) -> str:
    """Return the content of a text file.

    Raises:
        ValueError: it cannot be read, is empty, or is not in UTF-8.
    """
    try:
        content = decoded(Path(path).expanduser())
    except OSError as error:
        raise ValueError(f"path={path!r} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"path={path!r} is not in UTF-8 (byte {error.start:,}); expected a text in UTF-8") from None
    if not content:
        raise ValueError(f"path={path!r} is empty; it should be a text")
    return content


def decoded(path: Path) -> str:
    """Return the text of a regular file.

    Raises:
        OSError: it cannot be read, or is another kind of file.
        UnicodeDecodeError: it is not in UTF-8.
    """
    size = path.stat().st_size
    if not path.is_file():
        raise OSError(f"{path} is not a regular file")
    memory.require(PER_CHARACTER * size, f"a text of {size:,} bytes")
    return path.read_bytes().decode("utf-8")


def licences() -> str:
    """Return the licences of some installed packages, each paragraph once, so that no test paragraph was seen before.

    Raises:
        ValueError: none of the packages is installed with its licence.
    """
    paragraphs: dict[str, None] = {}
    for name in LICENSED:
        try:
            files = distribution(name).files or []
        except PackageNotFoundError:
            continue
        for file in sorted(files, key=str):
            if ".dist-info/" not in str(file) or not LICENCE.search(str(file)):
                continue
            try:
                content = decoded(Path(str(file.locate())))
            except (OSError, UnicodeDecodeError):
                continue
            paragraphs |= dict.fromkeys(paragraph.strip("\n") for paragraph in re.split(r"\n\s*\n", content))
    paragraphs.pop("", None)
    if not paragraphs:
        raise ValueError(f"none of {', '.join(LICENSED)} is installed with its licence; give a text: data.path=my.txt")
    return "\n\n".join(paragraphs) + "\n"
