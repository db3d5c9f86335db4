"""Texts cut into characters, for models that predict the next one."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from . import memory
from .forms import TokenForm
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
) -> Source:
    """A text as windows of characters; the target at each position is the next character.

    The windows do not overlap. The last part of the text is for testing; the vocabulary is that of the rest.

    Args:
        path: of a text file in UTF-8; None for the licences of some installed packages, without repeated paragraphs.
        length: characters of a window, the most that a prediction can look back.
        characters: the number of characters to use, from the beginning; None for all.
        test_fraction: the share of the text for testing.

    Raises:
        ValueError: the file cannot be read, or the text is too short for the windows.
    """
    content = licences() if path is None else read(path)
    content = content[:characters]
    memory.require(PER_CHARACTER * len(content), f"a text of {len(content):,} characters")
    cut = len(content) - round(test_fraction * len(content))
    name = "the text" if path is None else f"path={path!r}"
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
    form = TokenForm(vocabulary)
    return Source(x_train, y_train, x_test, y_test, targets=vocabulary, form=form, kind="tokens", notes=tuple(notes))


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
