"""A folder of pictures, one sub-folder for each class."""

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from . import packed
from .forms import ImageForm
from .packed import PARTS, Facts, Packed, Picture, UnreadableError, UnusableError
from .sources import Source
from .split import stratified

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Those of torchvision.datasets.folder.IMG_EXTENSIONS."""

WHOLE = "whole"
"""Stands in the place of a part's name where a folder is not divided into parts."""

SHOWN = 3
"""Pictures that a sentence names."""

LOG = logging.getLogger("experiments")


class File(NamedTuple):
    """A picture's file: its path below the data's folder, its bytes and when it was changed, in nanoseconds."""

    name: str
    size: int
    changed: int


Listing = dict[str, dict[str, list[File]]]
"""Files by part and class."""


def image_folder(
    path: str,
    size: Annotated[int, Ge(1)],
    cache: str | None = None,
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2,
    skip_unreadable: bool = False,
) -> Source:
    """Pictures in the layout of torchvision's ImageFolder, with a sub-folder for each class.

    They are decoded once, brought to one size (see `packed.decoded`) and kept as bytes, which later runs map into
    memory as long as the folder's files stay as they are.

    Args:
        path: holds `train/<class>/...` and `test/<class>/...`, or `<class>/...`. Names that begin with a dot are
            passed over.
        size: the side in pixels that pictures are scaled and cropped to.
        cache: the folder to keep the decoded pictures in; None for `experiments` where the user's caches are.
        test_fraction: of the pictures of a folder without a test part, the share that becomes it, the same for
            every seed.
        skip_unreadable: whether to leave out pictures that cannot be read, instead of stopping.

    Raises:
        ValueError: the folder is absent or unsuitable, or a picture cannot be read.
        OSError: the decoded pictures cannot be written.
    """
    root = Path(path).expanduser()
    listing = listed(root, path)
    classes = class_names(listing, path)
    settings = {"size": size, "test_fraction": test_fraction if WHOLE in listing else None}
    key = fingerprint(listing, settings)
    place = cache_folder(cache, root) / f"{root.resolve().name[:40]}-{size}-{key[:16]}"
    found = opened(place, key, skip_unreadable=skip_unreadable)
    if found is None:
        parts = pictures(listing, classes, test_fraction)
        facts = Facts(packed.VERSION, key, str(root.resolve()), settings)

        def check(labels: Mapping[str, Tensor], facts: Facts) -> None:
            refuse(labels, facts, classes, path, test_fraction if WHOLE in listing else None)

        check({part: numbers(some) for part, some in parts.items()}, facts)
        try:
            found = packed.pack(root, parts, size, place, facts, skip_unreadable=skip_unreadable, check=check)
        except UnreadableError as error:
            raise ValueError(
                f"path={path!r} holds a picture that cannot be read, {error.name!r} ({error.reason}); "
                "mend or remove it, or leave out all such pictures with data.skip_unreadable=true"
            ) from None
    say(found.facts, path)
    (x_train, y_train), (x_test, y_test) = ((found.x[part], found.y[part]) for part in PARTS)
    return Source(x_train, y_train, x_test, y_test, classes, mapped=True, form=ImageForm(size=size))


def listed(root: Path, path: str) -> Listing:
    """Find the pictures' files, by name within each class.

    Args:
        root: the data's folder.
        path: as it was given.

    Raises:
        ValueError: the folder is absent, or its layout is neither of the two.
    """
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise ValueError(f"path={path!r} {what}; name a folder with a sub-folder of pictures for each class")
    parts = [part for part in PARTS if divided_into_classes(root / part)]
    if len(parts) == 1:
        (other,) = set(PARTS) - set(parts)
        raise ValueError(
            f"path={path!r} has classes in its folder {parts[0]!r} and none in {other!r}; "
            f"sort both into classes, or name {str(Path(path, parts[0]))!r} as path"
        )
    if not parts:
        return {WHOLE: by_class(root, "", root)}
    unused = sorted(name for name in folders(root) if name not in parts)
    if unused:
        names = quoted(unused)
        LOG.info(f"Besides train and test, {path!r} has folders that are not used: {names}.")
    return {part: by_class(root / part, f"{part}/", root) for part in parts}


def divided_into_classes(folder: Path) -> bool:
    """Whether a folder has sub-folders, and no picture beside them."""
    if not folder.is_dir() or not folders(folder):
        return False
    with os.scandir(folder) as entries:
        return not any(is_picture(entry) for entry in entries)


def folders(folder: Path) -> list[str]:
    """Return the names of a folder's sub-folders in order, without those that begin with a dot."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def by_class(folder: Path, prefix: str, root: Path) -> dict[str, list[File]]:
    """Return the files of the pictures in each of a folder's sub-folders."""
    above = frozenset({identity(root), identity(folder)})
    return {name: sorted(files(folder / name, f"{prefix}{name}/", above)) for name in folders(folder)}


def files(folder: Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[File]:
    """Yield the files of the pictures in a folder and below it.

    Args:
        folder: where to look.
        prefix: what its files' names begin with.
        above: the folders that it lies in, so that a link to one of these is not followed.
    """
    own = identity(folder)
    if own in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_picture(entry):
                yield file(entry, prefix)
            elif entry.is_dir() and not entry.name.startswith("."):
                yield from files(Path(entry.path), f"{prefix}{entry.name}/", above | {own})


def identity(folder: Path) -> tuple[int, int]:
    """Return what tells a folder from all others, by whatever link it is reached."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def is_picture(entry: "os.DirEntry[str]") -> bool:
    """Whether the name is a picture's, and it is not a folder's."""
    return entry.name.lower().endswith(EXTENSIONS) and not entry.name.startswith(".") and not entry.is_dir()


def file(entry: "os.DirEntry[str]", prefix: str) -> File:
    """Return what the file system knows of a file; a link that leads nowhere has the size -1."""
    try:
        status = entry.stat()
    except OSError:
        return File(prefix + entry.name, -1, 0)
    return File(prefix + entry.name, status.st_size, status.st_mtime_ns)


def class_names(listing: Listing, path: str) -> list[str]:
    """Return the classes' names in order.

    Raises:
        ValueError: there are fewer than two, or the parts differ in them.
    """
    held = {part: {name for name, some in classes.items() if some} for part, classes in listing.items()}
    if not any(held.values()):
        raise ValueError(
            f"path={path!r} has no sub-folder with pictures; it needs one for each class, "
            f"with files that end in {', '.join(EXTENSIONS)}"
        )
    for one, other in (PARTS, PARTS[::-1]):
        alone = sorted(held.get(one, set()) - held.get(other, set()))
        if WHOLE not in held and alone:
            raise ValueError(
                f"path={path!r} has pictures of the class {alone[0]!r} in {one!r} and none in {other!r}; "
                "both must have the same classes"
            )
    names = sorted(set().union(*listing.values()))
    if len(names) < 2:
        raise ValueError(f"path={path!r} has one class, {names[0]!r}; telling classes apart needs at least two")
    return names


def fingerprint(listing: Listing, settings: Mapping[str, object]) -> str:
    """Return a text that changes with a file's name, size or time of change, and with the settings."""
    lines = [
        f"{name}\0{size}\0{changed}"
        for classes in listing.values()
        for f in classes.values()
        for name, size, changed in f
    ]
    return hashlib.sha256(os.fsencode("\n".join([repr(settings), *lines]))).hexdigest()


def cache_folder(cache: str | None, root: Path) -> Path:
    """Return the folder to keep decoded pictures in.

    Raises:
        ValueError: it lies among the pictures.
    """
    if cache is None:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "experiments"
    folder = Path(cache).expanduser()
    if folder.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"cache={cache!r} lies in the folder of the pictures; name one outside it")
    return folder


def opened(place: Path, key: str, *, skip_unreadable: bool) -> Packed | None:
    """Open what an earlier run has kept; None where there is nothing that can be used."""
    try:
        found = packed.read(place, key)
    except UnusableError as why:
        LOG.info(f"The decoded pictures in {str(place)!r} are {why}, so they are made again.")
        return None
    return None if found and found.facts.left_out and not skip_unreadable else found


def pictures(listing: Listing, classes: list[str], test_fraction: float) -> dict[str, list[Picture]]:
    """Return the pictures of each part, with a test part that is drawn where there is none."""
    parts = {
        part: [Picture(f.name, label, f.size) for label, name in enumerate(classes) for f in by_name.get(name, [])]
        for part, by_name in listing.items()
    }
    if WHOLE not in parts:
        return parts
    whole = parts[WHOLE]
    test, train = stratified(numbers(whole), round(test_fraction * len(whole)), torch.Generator().manual_seed(0))
    return {part: [whole[row] for row in rows.sort()[0].tolist()] for part, rows in (("train", train), ("test", test))}


def numbers(some: list[Picture]) -> Tensor:
    """Return the pictures' class numbers."""
    return torch.tensor([picture.label for picture in some], dtype=torch.int64)


def refuse(
    labels: Mapping[str, Tensor], facts: Facts, classes: list[str], path: str, test_fraction: float | None
) -> None:
    """Refuse data that leave a class or a part without pictures.

    Args:
        labels: class numbers by part.
        facts: what is known of the pictures.
        classes: the classes' names.
        path: the folder as it was given.
        test_fraction: the share that was drawn for testing; None where the folder has a test part.

    Raises:
        ValueError: no picture can be read, a class has fewer than two, or a part or a class in training has none.
    """
    left_out = facts.left_out
    without = f", without {len(left_out)} that cannot be read" if left_out else ""
    if left_out and not any(len(y) for y in labels.values()):
        name, reason = next(iter(left_out.items()))
        raise ValueError(
            f"path={path!r} has {len(left_out)} pictures and none can be read, the first being {name!r} ({reason})"
        )
    train, test = (torch.bincount(labels[part], minlength=len(classes)) for part in PARTS)
    counted = train if test_fraction is None else train + test
    few = [label for label, count in enumerate(counted.tolist()) if count < 2]
    if few:
        count = ("no picture", "only one picture")[int(counted[few[0]])]
        where = " in 'train'" if test_fraction is None else ""
        raise ValueError(
            f"path={path!r} has {count} of the class {classes[few[0]]!r}{where}{without}; a class needs at least two"
        )
    if test_fraction is None and len(labels["test"]) == 0:
        raise ValueError(f"path={path!r} has no picture in 'test'{without}")
    if len(labels["test"]) == 0:
        raise ValueError(
            f"test_fraction={test_fraction} leaves none of {len(labels['train'])} pictures to test on{without}; "
            "use a larger one"
        )
    none = [name for name, count in zip(classes, train.tolist(), strict=True) if count == 0]
    if none:
        raise ValueError(
            f"test_fraction={test_fraction} leaves no picture of the class {none[0]!r} to train on{without}; "
            "use a smaller one"
        )


def say(facts: Facts, path: str) -> None:
    """Say what was done to the pictures besides scaling them."""
    if facts.left_out:
        count = len(facts.left_out)
        what, verb = ("picture", "is") if count == 1 else ("pictures", "are")
        LOG.info(f"{count:,} {what} of {path!r} cannot be read and {verb} left out: {quoted(list(facts.left_out))}.")
    if len(facts.modes) > 1 or not facts.modes.keys() <= {"RGB", "L"}:
        kinds = ", ".join(f"{count:,} {mode}" for mode, count in facts.modes.items())
        to = "grey" if facts.modes.keys() <= packed.GREY | packed.WIDE else "RGB"
        LOG.info(f"The pictures of {path!r} differ in colour mode or need another, and all become {to}: {kinds}.")


def quoted(names: list[str]) -> str:
    """Return the first names for people, and how many there are besides."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(repr(name) for name in names[:SHOWN]) + more
