"""Pictures decoded once to one size, and kept as arrays in files that are mapped into memory.

A packed folder holds `train.npy` and `test.npy`, uint8 of shape (pictures, channels, size, size), the class numbers
beside them in `train_y.npy` and `test_y.npy`, and `facts.json`, see `Facts`.
"""

import errno
import json
import os
import re
import shutil
import sys
import time
import uuid
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

VERSION = 1
"""Of what a packed folder holds, and of how a picture becomes pixels."""

PARTS = ("train", "test")
CHUNK = 16
"""Pictures that a thread decodes at a time, unless they take more than `CHUNK_BYTES`."""
CHUNK_BYTES = 2**22

BYTES_PER_THREAD = 5_000
"""Of an average picture's file, for each further thread.

Python's lock is held for some 0.2 ms a picture, so the smallest are slower on two threads than on one: on two cores,
JPEGs of 1, 5, 20 and 80 kB take 0.19, 0.38, 0.71 and 2.5 ms each on one thread, and 0.24, 0.33, 0.42 and 1.2 ms on two.
"""

ROWS = 1024
"""Pictures that are copied at a time."""

ABANDONED = 86_400
"""Seconds after which what a killed process left behind is removed."""

GREY = {"1", "L", "LA", "La"}
WIDE = {"I", "I;16", "I;16L", "I;16B", "I;16N"}

Attempt = tuple[np.ndarray | None, str]
"""A picture's pixels and colour mode, or None and why it cannot be read."""


@dataclass(frozen=True)
class Picture:
    """A picture's file.

    Args:
        name: its path below the data's folder, with slashes.
        label: its class's number.
        size: in bytes; -1 where the file cannot be asked.
    """

    name: str
    label: int
    size: int


@dataclass
class Facts:
    """What is known of a packed folder.

    Args:
        version: see `VERSION`.
        fingerprint: of the files and of how they were asked for.
        source: the data's folder.
        settings: what the pictures were packed with; of a source and its settings, only the latest is kept.
        modes: how many pictures had which of PIL's colour modes.
        left_out: the pictures that could not be read, and why.
    """

    version: int
    fingerprint: str
    source: str
    settings: dict[str, Any]
    modes: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass
class Packed:
    """A packed folder as tensors, x by part over its files.

    Args:
        x: (pictures, channels, size, size), uint8, not to be written to.
        y: (pictures,), class numbers, int64.
    """

    x: dict[str, Tensor]
    y: dict[str, Tensor]
    facts: Facts


class UnreadableError(Exception):
    """A picture cannot be read."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason


class UnusableError(Exception):
    """A packed folder cannot be used; the message says why, as what it is."""


def read(place: Path, fingerprint: str) -> Packed | None:
    """Open a packed folder; None where there is none.

    Raises:
        UnusableError: it is of another version or damaged.
    """
    if not place.exists():
        return None
    try:
        facts = json.loads((place / "facts.json").read_text(encoding="utf-8"))
        if facts["version"] != VERSION:
            raise UnusableError("of another version")
        if facts["fingerprint"] != fingerprint:
            raise ValueError("it is of other files")
        found = Packed({part: _mapped(place / f"{part}.npy") for part in PARTS}, {}, Facts(**facts))
        found.y = {part: torch.from_numpy(np.load(place / f"{part}_y.npy")) for part in PARTS}
        if any(len(found.x[part]) != len(found.y[part]) for part in PARTS):
            raise ValueError("it has another number of labels than of pictures")
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise UnusableError("damaged") from error
    return found


def pack(
    root: Path,
    parts: dict[str, list[Picture]],
    size: int,
    place: Path,
    facts: Facts,
    *,
    skip_unreadable: bool,
    check: Callable[[dict[str, Tensor], Facts], None],
) -> Packed:
    """Decode pictures and keep them, as a whole or not at all.

    The files are written in a folder beside `place` that then takes its name. Where another process was faster,
    its folder stays.

    Args:
        root: the folder that the pictures' names are below.
        parts: the pictures of `PARTS`.
        size: see `decoded`.
        place: the folder to be.
        facts: what is known; the modes and what is left out are filled in.
        skip_unreadable: whether to leave out what cannot be read.
        check: is given the class numbers by part, and the facts, before anything is kept; raises to keep nothing.

    Raises:
        UnreadableError: the first picture that cannot be read, unless these are left out.
        OSError: the files cannot be written.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    made = place.parent / f".{place.name}.{uuid.uuid4().hex}"
    made.mkdir()
    try:
        labels = _write(made, root, parts, size, facts, skip_unreadable)
        check(labels, facts)
        for part, y in labels.items():
            with (made / f"{part}_y.npy").open("wb") as file:
                np.save(file, y.numpy())
                _synced(file)
        if facts.modes.keys() <= GREY | WIDE:
            for part in PARTS:
                _keep_one_channel(made / f"{part}.npy")
        with (made / "facts.json").open("w", encoding="utf-8") as file:
            json.dump(asdict(facts), file)
            _synced(file)
        packed = Packed({part: _mapped(made / f"{part}.npy") for part in PARTS}, labels, facts)
        _publish(made, place, facts)  # what is mapped stays mapped, whatever becomes of the folder
    finally:
        shutil.rmtree(made, ignore_errors=True)
    _tidy(place, facts)
    return packed


def decoded(path: str, size: int | None, channels: int | None = None) -> tuple[np.ndarray, str]:
    """Return a picture as its shorter side becomes `size` and its centre is cut out, and its colour mode.

    The pixels are those of torchvision's Resize(size) and CenterCrop(size) on a PIL picture: bilinear, antialiased.
    A picture is turned as its EXIF orientation says, and of an animation the first picture is taken.

    Args:
        path: the file.
        size: in pixels; None leaves a picture as large as it is.
        channels: 1 or 3 for grey or RGB, whatever the picture is; None for what it is.

    Returns:
        uint8 of shape (channels, size, size), where a grey picture has 1 channel and any other 3; PIL's name of the
        mode.

    Raises:
        Exception: whatever PIL raises for a picture that it cannot read.
    """
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        mode = image.mode
        ImageOps.exif_transpose(image, in_place=True)
        plain = _eight_bit(image)
        wanted = {None: plain.mode, 1: "L", 3: "RGB"}[channels]
        plain = plain if plain.mode == wanted else plain.convert(wanted)
        if size is None:
            return _channels_first(np.asarray(plain)), mode
        scaled = tuple(int(size * side / min(plain.size)) for side in plain.size)  # rounded down, as torchvision does
        if scaled != plain.size:
            plain = plain.resize(scaled, Image.Resampling.BILINEAR)
        left, top = (round((side - size) / 2) for side in scaled)
        pixels = np.asarray(plain.crop((left, top, left + size, top + size)))
    return _channels_first(pixels), mode


def _channels_first(pixels: np.ndarray) -> np.ndarray:
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def alone(path: str, size: int | None, channels: int) -> np.ndarray:
    """Return one picture as those of a packed folder are: uint8, see `decoded`.

    Raises:
        UnreadableError: it cannot be read.
    """
    with _quiet_pil():
        try:
            return decoded(path, size, channels)[0]
        except MemoryError:
            raise
        except Exception as error:  # as in `_attempt`
            raise UnreadableError(path, _reason(error)) from None


def _eight_bit(image: Any) -> Any:
    """Return a PIL picture as L or RGB; transparency is dropped, and of 16 bits the upper 8 are kept."""
    from PIL import Image

    if image.mode in WIDE:
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    wanted = "L" if image.mode in GREY else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def _write(
    folder: Path, root: Path, parts: dict[str, list[Picture]], size: int, facts: Facts, skip_unreadable: bool
) -> dict[str, Tensor]:
    """Write the parts' pixels in three channels, and return the class numbers of what was read."""
    modes: Counter[str] = Counter()
    labels: dict[str, list[int]] = {part: [] for part in PARTS}
    every = [picture for part in PARTS for picture in parts[part]]
    threads = _threads(every)
    with _quiet_pil(), _progress(len(every)) as advance:
        for part in PARTS:
            with (folder / f"{part}.npy").open("wb") as file:
                _header(file, 0, (3, size, size))
                for picture, pixels, said in _in_order(root, parts[part], size, threads):
                    advance()
                    if pixels is not None:
                        file.write(np.broadcast_to(pixels, (3, size, size)).tobytes())
                        modes[said] += 1
                        labels[part].append(picture.label)
                    elif skip_unreadable:
                        facts.left_out[picture.name] = said
                    else:
                        raise UnreadableError(picture.name, said)
                file.seek(0)
                _header(file, len(labels[part]), (3, size, size))
                _synced(file)
    facts.modes = dict(sorted(modes.items(), key=lambda item: (-item[1], item[0])))
    facts.left_out = dict(sorted(facts.left_out.items()))
    return {part: torch.tensor(y, dtype=torch.int64) for part, y in labels.items()}


def _in_order(
    root: Path, pictures: Sequence[Picture], size: int, threads: int
) -> Iterator[tuple[Picture, np.ndarray | None, str]]:
    """Decode in threads, and give each picture with its pixels and mode, or with None and a reason.

    Only some chunks are under way or waiting at a time, so that memory is bounded.
    """
    if threads == 1:
        for picture in pictures:
            yield picture, *_attempt(root, picture, size)
        return
    length = max(1, min(CHUNK, CHUNK_BYTES // (3 * size * size)))
    chunks = deque(pictures[start : start + length] for start in range(0, len(pictures), length))
    pending: deque[tuple[Sequence[Picture], Future[list[Attempt]]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            while chunks or pending:
                while chunks and len(pending) < 2 * threads:
                    chunk = chunks.popleft()
                    pending.append((chunk, pool.submit(_attempts, root, chunk, size)))
                chunk, future = pending.popleft()
                for picture, (pixels, said) in zip(chunk, future.result(), strict=True):
                    yield picture, pixels, said
        finally:
            for _, future in pending:
                future.cancel()


def _attempts(root: Path, chunk: Iterable[Picture], size: int) -> list[Attempt]:
    """Decode each picture; where that fails, None and the reason stand in its place."""
    return [_attempt(root, picture, size) for picture in chunk]


def _attempt(root: Path, picture: Picture, size: int) -> Attempt:
    if picture.size == 0:
        return None, "the file is empty"
    try:
        return decoded(f"{root}/{picture.name}", size)
    except MemoryError:
        raise
    except Exception as error:  # PIL's readers raise many kinds for a broken file
        return None, _reason(error)


def _reason(error: Exception) -> str:
    """Return in a few words why PIL cannot read a picture."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "its format is unknown"
    if isinstance(error, Image.DecompressionBombError):
        return "it has too many pixels"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _threads(pictures: Sequence[Picture]) -> int:
    """Choose how many decode, see `BYTES_PER_THREAD`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    average = sum(picture.size for picture in pictures) // len(pictures)
    return max(1, min(cores, 1 + average // BYTES_PER_THREAD))


@contextmanager
def _quiet_pil() -> Iterator[None]:
    """Ignore what PIL warns of, such as odd EXIF data; its readers are loaded before several threads need them."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.preinit()  # the common ones, which are then tried first
        Image.init()
        yield


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """Show a bar on a terminal; what is given moves it by one picture."""
    if not sys.stdout.isatty():
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("packing pictures"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def _header(file: IO[bytes], rows: int, shape: tuple[int, ...]) -> None:
    """Write the beginning of a .npy file, whose length does not depend on the number of rows."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (rows, *shape)})


def _synced(file: IO[Any]) -> None:
    """Bring a file to the disk, so that no crash leaves a folder with its name and without its content."""
    file.flush()
    os.fsync(file.fileno())


def _keep_one_channel(path: Path) -> None:
    """Rewrite a file of grey pictures, whose channels are equal."""
    wide = np.load(path, mmap_mode="r")
    narrow = path.with_suffix(".narrow")
    with narrow.open("wb") as file:
        _header(file, len(wide), (1, *wide.shape[2:]))
        for start in range(0, len(wide), ROWS):
            file.write(wide[start : start + ROWS, :1].tobytes())
        _synced(file)
    narrow.replace(path)


def _mapped(path: Path) -> Tensor:
    """Return a .npy file as a tensor over the file."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.load(path, mmap_mode="r"))


def _publish(made: Path, place: Path, facts: Facts) -> None:
    """Give a finished folder its name, unless a usable one that lacks no more pictures has it already."""
    while True:
        try:
            made.rename(place)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        with suppress(UnusableError):
            found = read(place, facts.fingerprint)
            if found and len(found.facts.left_out) <= len(facts.left_out):
                return
        discarded = made.with_name(f".{place.name}.{uuid.uuid4().hex}")
        with suppress(FileNotFoundError):  # another process was faster
            place.rename(discarded)
        shutil.rmtree(discarded, ignore_errors=True)


def _tidy(place: Path, facts: Facts) -> None:
    """Remove what the new folder replaces, and what a killed process left behind long ago."""
    unfinished = re.compile(rf"\.{re.escape(place.name.rpartition('-')[0])}-[0-9a-f]+\.[0-9a-f]{{32}}")
    for other in place.parent.iterdir():
        with suppress(OSError, ValueError, KeyError, TypeError):
            if unfinished.fullmatch(other.name):
                replaced = time.time() - other.stat().st_mtime > ABANDONED
            else:
                known = json.loads((other / "facts.json").read_text(encoding="utf-8"))
                same = known["source"] == facts.source and known["settings"] == facts.settings
                replaced = same and known["fingerprint"] != facts.fingerprint
            if replaced:
                shutil.rmtree(other, ignore_errors=True)
