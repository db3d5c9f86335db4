"""Pictures decoded once to one size, and stored as arrays in memory-mapped files.

A packed folder holds `train.npy`, `test.npy` and perhaps `val.npy`, uint8 of shape (pictures, channels, size, size),
their class numbers in `train_y.npy` and so on, and `facts.json`, see `Facts`.
"""

import errno
import json
import math
import os
import re
import shutil
import sys
import time
import uuid
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .cores import present_cores
from .forms import Background

VERSION = 2
"""The version of a packed folder's files, and of how a picture becomes pixels."""

PARTS = ("train", "val", "test")
CHUNK = 16
"""Pictures that a thread decodes at a time; fewer if they take more than `CHUNK_BYTES`."""
CHUNK_BYTES = 2**22

BYTES_PER_THREAD = 5_000
"""The average picture's file must have this many bytes for each additional thread.

Each picture holds Python's lock for about 0.2 ms, so the smallest pictures are slower on two threads than on one. On
two cores, JPEGs of 1, 5, 20 and 80 kB take 0.19, 0.38, 0.71 and 2.5 ms each on one thread, and 0.24, 0.33, 0.42 and
1.2 ms on two.
"""

ROWS = 1024
"""Pictures that are copied at a time."""

LARGEST = 2**28
"""Pixels of a scaled picture; a long and narrow one could have any number."""

ABANDONED = 86_400
"""Seconds after which the unfinished folder of a killed process is removed."""

GREY = {"1", "L", "LA", "La"}
WIDE = {"I", "I;16", "I;16L", "I;16B", "I;16N"}


class Decoded(NamedTuple):
    """A picture.

    Args:
        pixels: uint8 of shape (channels, size, size), with 1 channel for grey and 3 for RGB.
        mode: PIL's name of its colour mode.
        transparent: whether some of its pixels are transparent.
    """

    pixels: np.ndarray
    mode: str
    transparent: bool


Attempt = Decoded | str
"""A picture, or the reason why it cannot be read."""


class Limits(NamedTuple):
    """The values of black and of white in grey pictures of 16 bits."""

    black: float
    white: float


@dataclass(frozen=True)
class Conversion:
    """How pixels become bytes.

    Args:
        background: the colour on which transparent pictures are drawn; None to leave their transparency out.
        limits: of grey pictures of 16 bits; None to keep the upper 8 bits.
        measured: whether the limits are not yet known, so that such a picture raises a `WideError`.
    """

    background: Background | None = None
    limits: Sequence[float] | None = None
    measured: bool = False


class WideError(Exception):
    """A grey picture has 16 bits, and the range of their values is not known yet."""


@dataclass(frozen=True)
class Picture:
    """A picture's file.

    Args:
        name: its path below the data's folder, with slashes.
        label: its class number.
        size: in bytes; -1 if the file system does not tell.
    """

    name: str
    label: int
    size: int


@dataclass
class Facts:
    """The description of a packed folder.

    Args:
        version: see `VERSION`.
        fingerprint: a hash of the pictures' files and of the settings.
        source: the data's folder.
        settings: the settings of the packing; for each source and settings, only the latest folder is kept.
        modes: PIL's colour mode -> the number of pictures that had it.
        left_out: name of a picture that could not be read -> the reason.
        parts: the names of the parts.
        transparent: the number of pictures with transparent pixels.
        limits: of the grey pictures of 16 bits, see `Limits`; None if there are none.
    """

    version: int
    fingerprint: str
    source: str
    settings: dict[str, Any]
    modes: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    parts: Sequence[str] = ("train", "test")
    transparent: int = 0
    limits: Sequence[float] | None = None


@dataclass
class Packed:
    """A packed folder as tensors, by part; x is mapped to the files.

    Args:
        x: (pictures, channels, size, size), uint8, read-only.
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
    """A packed folder cannot be used; the message is an adjective, such as 'damaged'."""


def read(folder: Path, fingerprint: str) -> Packed | None:
    """Open a packed folder; None if it does not exist.

    Raises:
        UnusableError: the folder is of another version or damaged.
    """
    if not folder.exists():
        return None
    try:
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        if facts["version"] != VERSION:
            raise UnusableError("of another version")
        if facts["fingerprint"] != fingerprint:
            raise ValueError("the folder was packed from other files")
        parts = [part for part in PARTS if part in facts["parts"]]
        packed = Packed({part: _mapped(folder / f"{part}.npy") for part in parts}, {}, Facts(**facts))
        packed.y = {part: torch.from_numpy(np.load(folder / f"{part}_y.npy")) for part in parts}
        if any(len(packed.x[part]) != len(packed.y[part]) for part in parts):
            raise ValueError("the numbers of labels and pictures differ")
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise UnusableError("damaged") from error
    return packed


def pack(
    root: Path,
    parts: dict[str, list[Picture]],
    size: int,
    folder: Path,
    facts: Facts,
    *,
    conversion: Conversion,
    skip_unreadable: bool,
    check: Callable[[dict[str, Tensor], Facts], None],
) -> Packed:
    """Decode pictures and store them completely, or not at all.

    The files are written to a hidden folder next to `folder`, which is renamed when it is complete. If another process
    was faster, its folder stays.

    Args:
        root: the folder to which the pictures' names are relative.
        parts: the pictures of each part.
        size: see `decoded`.
        folder: the packed folder to write.
        facts: the description of the folder; what the pictures show is filled in.
        conversion: how pixels become bytes; limits that are to be measured are those of the training pictures.
        skip_unreadable: whether to leave out pictures that cannot be read.
        check: called with the class numbers by part, and the facts, before anything is stored; raises to store nothing.

    Raises:
        UnreadableError: the first picture that cannot be read, unless such pictures are left out.
        OSError: the files cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.parent / f".{folder.name}.{uuid.uuid4().hex}"
    unfinished.mkdir()
    try:
        facts.parts = [part for part in PARTS if part in parts]
        try:
            labels = _write(unfinished, root, parts, size, facts, conversion, skip_unreadable)
        except WideError:
            conversion = replace(conversion, limits=_limits(root, parts), measured=False)
            labels = _write(unfinished, root, parts, size, facts, conversion, skip_unreadable)
        facts.limits = conversion.limits if facts.modes.keys() & WIDE else None
        check(labels, facts)
        for part, y in labels.items():
            with (unfinished / f"{part}_y.npy").open("wb") as file:
                np.save(file, y.numpy())
                _synced(file)
        if facts.modes.keys() <= GREY | WIDE:
            for part in facts.parts:
                _keep_one_channel(unfinished / f"{part}.npy")
        with (unfinished / "facts.json").open("w", encoding="utf-8") as file:
            json.dump(asdict(facts), file)
            _synced(file)
        packed = Packed({part: _mapped(unfinished / f"{part}.npy") for part in facts.parts}, labels, facts)
        _publish(unfinished, folder, facts)  # mapped files stay mapped even if their folder is renamed or removed
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    _tidy(folder, facts)
    return packed


PLAIN = Conversion()


def decoded(path: str, size: int | None, channels: int | None = None, conversion: Conversion = PLAIN) -> Decoded:
    """Return a picture, scaled so that its shorter side is `size` and cropped at the centre.

    The pixels are those of torchvision's Resize(size) and CenterCrop(size) on a PIL picture: bilinear, antialiased.
    The picture is rotated by its EXIF orientation; of an animation, the first picture is taken.

    Args:
        path: the file.
        size: in pixels; None keeps the picture's own size.
        channels: 1 to convert to grey, 3 to convert to RGB; None keeps grey pictures grey and converts others to RGB.
        conversion: how pixels become bytes.

    Raises:
        WideError: the limits of 16 bits are needed and not known.
        Exception: any error that PIL raises for a picture that it cannot read.
    """
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        mode = image.mode
        ImageOps.exif_transpose(image, in_place=True)
        plain, transparent = _eight_bit(image, conversion)
        wanted = {None: plain.mode, 1: "L", 3: "RGB"}[channels]
        plain = plain if plain.mode == wanted else plain.convert(wanted)
        if size is None:
            return Decoded(_channels_first(np.asarray(plain)), mode, transparent)
        scaled = tuple(int(size * side / min(plain.size)) for side in plain.size)  # rounded down, as in torchvision
        if math.prod(scaled) > LARGEST:
            raise ValueError(f"its size of {plain.size[0]} x {plain.size[1]} pixels becomes {scaled[0]} x {scaled[1]}")
        if scaled != plain.size:
            plain = plain.resize(scaled, Image.Resampling.BILINEAR)
        left, top = (round((side - size) / 2) for side in scaled)
        pixels = np.asarray(plain.crop((left, top, left + size, top + size)))
    return Decoded(_channels_first(pixels), mode, transparent)


def _channels_first(pixels: np.ndarray) -> np.ndarray:
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def single_picture(path: str, size: int | None, channels: int, conversion: Conversion) -> np.ndarray:
    """Return one picture in the form of a packed folder's pictures: uint8, see `decoded`.

    Raises:
        UnreadableError: the picture cannot be read.
    """
    with _quiet_pil():
        try:
            return decoded(path, size, channels, conversion).pixels
        except MemoryError:
            raise
        except Exception as error:  # as in `_attempt`
            raise UnreadableError(path, _reason(error)) from None


def _eight_bit(image: Any, conversion: Conversion) -> tuple[Any, bool]:
    """Return a PIL picture as L or RGB, without transparency, and whether some of its pixels were transparent."""
    from PIL import Image

    if image.mode in WIDE:
        return Image.fromarray(_scaled(np.asarray(image), conversion)), False
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    wanted = "L" if image.mode in GREY else "RGB"
    if conversion.background is not None and image.has_transparency_data:
        drawn = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        if drawn.getchannel("A").getextrema()[0] < 255:
            canvas = Image.new("RGBA", image.size, conversion.background)
            return Image.alpha_composite(canvas, drawn).convert(wanted), True
    return image if image.mode == wanted else image.convert(wanted), False


def _scaled(pixels: np.ndarray, conversion: Conversion) -> np.ndarray:
    """Return wide grey pixels as bytes: between the limits, or else the upper 8 of 16 bits.

    Raises:
        WideError: the limits are not known.
    """
    if conversion.measured:
        raise WideError
    if conversion.limits is None:
        return (pixels.clip(0, 65535) >> 8).astype(np.uint8)
    black, white = conversion.limits
    shares = (pixels.astype(np.float64) - black) / max(white - black, 1)
    return (shares.clip(0, 1) * 255).round().astype(np.uint8)


def _limits(root: Path, parts: Mapping[str, Sequence[Picture]]) -> Limits:
    """Return the smallest and the largest value of the wide grey training pictures; without any, of all wide ones."""
    from PIL import Image

    low, high = np.inf, -np.inf
    with _quiet_pil():
        for part in sorted(parts, key=lambda part: part != "train"):
            if part != "train" and low <= high:
                break
            for picture in parts[part]:
                with suppress(Exception), Image.open(f"{root}/{picture.name}") as image:  # `_write` names the others
                    if image.mode in WIDE:
                        pixels = np.asarray(image)
                        low, high = min(low, pixels.min()), max(high, pixels.max())
    return Limits(float(low), float(high))


def _write(
    folder: Path,
    root: Path,
    parts: dict[str, list[Picture]],
    size: int,
    facts: Facts,
    conversion: Conversion,
    skip_unreadable: bool,
) -> dict[str, Tensor]:
    """Write the parts' pixels in three channels, and return the class numbers of the pictures that could be read."""
    modes: Counter[str] = Counter()
    labels: dict[str, list[int]] = {part: [] for part in facts.parts}
    facts.transparent, facts.left_out = 0, {}
    every = [picture for part in facts.parts for picture in parts[part]]
    threads, attempt_one = _threads(every), partial(_attempt, root, size, conversion)
    with _quiet_pil(), _progress(len(every)) as advance:
        for part in facts.parts:
            with (folder / f"{part}.npy").open("wb") as file:
                _header(file, 0, (3, size, size))
                for picture, attempt in _in_order(parts[part], size, attempt_one, threads):
                    advance()
                    if isinstance(attempt, Decoded):
                        file.write(np.broadcast_to(attempt.pixels, (3, size, size)).tobytes())
                        modes[attempt.mode] += 1
                        facts.transparent += attempt.transparent
                        labels[part].append(picture.label)
                    elif skip_unreadable:
                        facts.left_out[picture.name] = attempt
                    else:
                        raise UnreadableError(picture.name, attempt)
                file.seek(0)
                _header(file, len(labels[part]), (3, size, size))
                _synced(file)
    facts.modes = dict(sorted(modes.items(), key=lambda item: (-item[1], item[0])))
    facts.left_out = dict(sorted(facts.left_out.items()))
    return {part: torch.tensor(y, dtype=torch.int64) for part, y in labels.items()}


def _in_order(
    pictures: Sequence[Picture], size: int, attempt: Callable[[Picture], Attempt], threads: int
) -> Iterator[tuple[Picture, Attempt]]:
    """Decode in threads, and yield each picture with the attempt to decode it.

    The number of chunks in progress is limited, so memory is bounded.
    """
    if threads == 1:
        for picture in pictures:
            yield picture, attempt(picture)
        return
    length = max(1, min(CHUNK, CHUNK_BYTES // (3 * size * size)))
    chunks = deque(pictures[start : start + length] for start in range(0, len(pictures), length))
    pending: deque[tuple[Sequence[Picture], Future[list[Attempt]]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            while chunks or pending:
                while chunks and len(pending) < 2 * threads:
                    chunk = chunks.popleft()
                    pending.append((chunk, pool.submit(_attempts, chunk, attempt)))
                chunk, future = pending.popleft()
                yield from zip(chunk, future.result(), strict=True)
        finally:
            for _, future in pending:
                future.cancel()


def _attempts(chunk: Iterable[Picture], attempt: Callable[[Picture], Attempt]) -> list[Attempt]:
    """Decode each picture of a chunk."""
    return [attempt(picture) for picture in chunk]


def _attempt(root: Path, size: int, conversion: Conversion, picture: Picture) -> Attempt:
    if picture.size == 0:
        return "the file is empty"
    try:
        return decoded(f"{root}/{picture.name}", size, None, conversion)
    except (MemoryError, WideError):
        raise
    except Exception as error:  # PIL's readers raise many kinds for a broken file
        return _reason(error)


def _reason(error: Exception) -> str:
    """Return, in a few words, the reason why PIL cannot read a picture."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "its format is unknown"
    if isinstance(error, Image.DecompressionBombError):
        return "it has too many pixels"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _threads(pictures: Sequence[Picture]) -> int:
    """Return the number of threads that decode, see `BYTES_PER_THREAD`."""
    average = sum(picture.size for picture in pictures) // len(pictures)
    return max(1, min(present_cores(), 1 + average // BYTES_PER_THREAD))


@contextmanager
def _quiet_pil() -> Iterator[None]:
    """Ignore PIL's warnings, such as about odd EXIF data, and load its readers before several threads need them."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.preinit()  # the common readers, so that they are tried first
        Image.init()
        yield


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar on a terminal; the yielded function advances it by one picture."""
    if sys.stdout is None or sys.stdout.closed or not sys.stdout.isatty():
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
    """Flush a file to the disk, so that a crash cannot leave a folder with its final name and empty files."""
    file.flush()
    os.fsync(file.fileno())


def _keep_one_channel(path: Path) -> None:
    """Rewrite a file of grey pictures, whose three channels are equal, with one channel."""
    wide = np.load(path, mmap_mode="r")
    narrow = path.with_suffix(".narrow")
    with narrow.open("wb") as file:
        _header(file, len(wide), (1, *wide.shape[2:]))
        for start in range(0, len(wide), ROWS):
            file.write(wide[start : start + ROWS, :1].tobytes())
        _synced(file)
    narrow.replace(path)


def _mapped(path: Path) -> Tensor:
    """Return a .npy file as a memory-mapped tensor."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.load(path, mmap_mode="r"))


def _publish(finished: Path, folder: Path, facts: Facts) -> None:
    """Give a finished folder its name, unless a usable folder that lacks no more pictures has this name already."""
    while True:
        try:
            finished.rename(folder)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        with suppress(UnusableError):
            existing = read(folder, facts.fingerprint)
            if existing and len(existing.facts.left_out) <= len(facts.left_out):
                return
        discarded = finished.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        with suppress(FileNotFoundError):  # another process was faster
            folder.rename(discarded)
        shutil.rmtree(discarded, ignore_errors=True)


def _tidy(folder: Path, facts: Facts) -> None:
    """Remove the folders that the new one replaces, and old unfinished folders of killed processes."""
    unfinished = re.compile(rf"\.{re.escape(folder.name.rpartition('-')[0])}-[0-9a-f]+\.[0-9a-f]{{32}}")
    for other in folder.parent.iterdir():
        with suppress(OSError, ValueError, KeyError, TypeError):
            if unfinished.fullmatch(other.name):
                replaced = time.time() - other.stat().st_mtime > ABANDONED
            else:
                known = json.loads((other / "facts.json").read_text(encoding="utf-8"))
                same = known["source"] == facts.source and known["settings"] == facts.settings
                replaced = same and known["fingerprint"] != facts.fingerprint
            if replaced:
                shutil.rmtree(other, ignore_errors=True)
