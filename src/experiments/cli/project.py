"""The file of a user's own project, `experiments.toml`: where its choices are and which code is its own, said once.

It is read from the folder in which a command is typed, and from no other one. The folder of a run may come from
somebody else, so the file is never read there, and never in a folder that everybody can write.
"""

import os
import re
import stat
import sys
import tomllib
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from experiments.common.errors import UserError, nearest
from experiments.common.files import regular_text

from .overrides import MULTIRUN

FILE = "experiments.toml"
KEYS = ("config_dir", "trust")
LARGEST = 100_000
"""Bytes of the file."""
CONFIGURATIONS = (".hydra/config.yaml", "*/.hydra/config.yaml", "*/*/.hydra/config.yaml")
"""Those of a run, of the runs of a sweep, and of the runs or sweeps in a folder above."""
OF_RUNS = (".hydra", "sweep.yaml")
"""What the folder of a run or a sweep has; everything below it belongs to it."""


@dataclass(frozen=True)
class Project:
    """What the file says.

    Args:
        config_dir: a folder of choices, relative to the file; None for none.
        trust: packages whose code the folders of runs may name.
    """

    config_dir: str | None = None
    trust: tuple[str, ...] = ()


def own_project() -> Project:
    """Return the project of the present folder; one without choices and code if the folder has no such file.

    With a project, its folder is on the path of imports, as it is for `python -m`.

    Raises:
        UserError: the file cannot be used.
    """
    file = Path(FILE)
    if not os.path.lexists(file):
        return Project()
    refuse_foreign(file)
    status = file.lstat()
    project = read_project(str(Path.cwd()), status.st_ino, status.st_mtime_ns, status.st_size)
    if not {"", os.getcwd()} & set(sys.path[:2]):  # noqa: PTH109 - as Python writes it there
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    return project


@lru_cache(maxsize=8)
def read_project(folder: str, *version: int) -> Project:
    """Return what the file of the present folder says; it is read again only if it has changed.

    Args:
        folder: the present one.
        version: numbers that tell versions of the file apart.

    Raises:
        UserError: the file cannot be used.
    """
    del folder, version
    try:
        content = tomllib.loads(regular_text(Path(FILE), LARGEST))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{FILE} cannot be read: {error}; correct the file, or remove it") from None
    return Project(choices_of(content), packages_of(content))


def refuse_foreign(file: Path) -> None:
    """Refuse a file that somebody else may have put there.

    Raises:
        UserError: it is in the folder of a run or a sweep, is a link, or others can write it.
    """
    folder = Path.cwd()
    for above in (folder, *folder.parents):
        if any((above / name).exists() for name in OF_RUNS):
            raise UserError(
                f"{FILE} is in the folder of a run or a sweep, {str(above)!r}, which may be from somebody else; "
                "type the command in the folder of your project"
            )
    if file.is_symlink():
        raise UserError(f"{FILE} is a link, which may lead anywhere; replace it by a file")
    status, around = file.stat(), folder.stat()
    if (status.st_mode | around.st_mode) & stat.S_IWOTH:
        raise UserError(
            f"{FILE} or its folder can be written by everybody, so it may be from somebody else; "
            f"take that right away with: chmod o-w . {FILE}"
        )
    me = os.getuid() if hasattr(os, "getuid") else status.st_uid
    if status.st_uid not in ({around.st_uid, me} if me == 0 else {0, me}):
        raise UserError(f"{FILE} belongs to another user; copy the project into a folder of your own")


def choices_of(content: dict[str, object]) -> str | None:
    """Return the folder of choices.

    Raises:
        UserError: a key is unknown, or the folder is not one below the project.
    """
    for key in content:
        if key not in KEYS:
            raise UserError(f"unknown key {key!r} in {FILE}; choose from {', '.join(KEYS)}" + nearest(key, KEYS))
    folder = content.get("config_dir")
    if folder is None:
        return None
    inside = isinstance(folder, str) and not Path(folder).is_absolute() and ".." not in Path(folder).parts
    if not isinstance(folder, str) or not inside or not Path(folder).is_dir():
        raise UserError(
            f"config_dir={folder!r} in {FILE} should be a folder of this project, with <group>/<choice>.yaml in it"
        )
    return folder


def packages_of(content: dict[str, object]) -> tuple[str, ...]:
    """Return the packages that are trusted.

    Raises:
        UserError: they are not a list of dotted names.
    """
    names = content.get("trust", [])
    dotted = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
    if not isinstance(names, list) or not all(isinstance(name, str) and dotted.fullmatch(name) for name in names):
        raise UserError(f'trust={names!r} in {FILE} should be a list of packages, such as ["my_package"]')
    return tuple(names)


def trusted_in(folder: str | Path) -> list[str]:
    """Return the packages that the project trusts, as far as the runs in a folder name their code.

    A run that names none of it gets no trust: it is restored as one from somebody else.

    Args:
        folder: of a run or a sweep, or one above.

    Raises:
        UserError: the project's file cannot be used.
    """
    wanted = dict.fromkeys(own_project().trust)
    found: list[str] = []
    for depth in CONFIGURATIONS if wanted else ():
        for path in sorted(Path(folder).glob(depth)):
            with suppress(OSError, ValueError):
                text = regular_text(path)
                named = [package for package in wanted if re.search(rf"_target_: ['\"]?{re.escape(package)}\.", text)]
                found += named
                for package in named:
                    del wanted[package]
            if not wanted:
                return found
    return found


def with_project(words: Sequence[str]) -> list[str]:
    """Return the words of a command of Hydra's, with what the project adds; a word that is typed comes first.

    Raises:
        UserError: the project's file cannot be used.
    """
    project = own_project()
    given = any(re.match(r"--config-dir\b|-cd\b", word) for word in words)
    choices = ["--config-dir", project.config_dir] if project.config_dir and not given else []
    return [*choices, *with_trust(words)]


def with_trust(words: Sequence[str]) -> list[str]:
    """Return overrides with the trust that the project gives the run that they resume; one that is typed comes first.

    Raises:
        UserError: the project's file cannot be used.
    """
    resumed = [match[1].strip("'\"") for word in words if (match := re.match(r"\+{0,2}resume=(?!null$)(.*)", word))]
    typed = any(re.match(r"\+{0,2}trust=", word) for word in words)
    packages = trusted_in(resumed[-1]) if resumed and not typed and not MULTIRUN & set(words) else []
    return [*words, *([f"trust=[{','.join(packages)}]"] if packages else [])]


def with_options(words: Sequence[str], options: Collection[str]) -> list[str]:
    """Return the words of a command with options, with what the project adds; an option that is typed comes first.

    Args:
        words: as typed.
        options: the names of those that the command has.

    Raises:
        UserError: the project's file cannot be used.
    """
    typed = {word.partition("=")[0] for word in words}
    added = []
    if "config_dir" in {*options} - typed and own_project().config_dir:
        added.append(f"config_dir={own_project().config_dir}")
    if "trust" in {*options} - typed:
        folders = [word.removeprefix("run=") for word in words if word.partition("=")[0] not in options]
        packages = dict.fromkeys(package for folder in folders for package in trusted_in(folder))
        added += [f"trust={','.join(packages)}"] if packages else []
    return [*words, *added]
