"""The command line of a run that is resumed: its saved overrides, in its folder."""

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.common.confined import refuse_links
from experiments.common.errors import UserError
from experiments.common.foreign import read_yaml, readable_yaml
from experiments.common.keys import EARLIER_CHOICES, earlier_choices, flattened, key_of, known
from experiments.common.recorded import OUTSIDE, WITHOUT_EFFECT, only_within
from experiments.common.text import cut

from .overrides import quoted, refuse_lone_choice, spelled_out, split_arguments

RESUME = re.compile(r"\+{0,2}resume=")
RECIPE = re.compile(r"experiment=")
UPWARD = re.compile(r"(?<![\w.])\.\.(?![\w.])")
"""The part of a path that leads to the folder above."""
CACHE, DOWNLOAD = "data.cache", "data.download"
"""The settings with which a data set writes files."""
LARGEST = 20_000
"""Characters of all saved overrides; Hydra reads about a thousand of them in a second."""
OF_A_RESUME = ("resume", "retry_failed")
"""Keys that only the command has with which a sweep is resumed."""
LATEST = "latest"
"""Resumes the newest sweep of a command."""
LIMITS = "limits"
"""The section of the limits of this machine."""
CLOSED = OUTSIDE
"""Sections that the saved overrides of a run must not touch: they name code, folders and files outside the run."""


def resumed_command_line(arguments: Sequence[str]) -> list[str]:
    """Return a command line with `resume=<folder>` replaced by the overrides and the folder of that run.

    The run is composed anew from the saved overrides and those of this command line. A command line without
    `resume=` is returned unchanged; that of a sweep gets only the choices that were the defaults when it was started.

    Raises:
        UserError: the folder does not contain a run that can be trusted, or `for=` is typed without a search.
    """
    refuse_lone_choice(arguments)
    arguments = spelled_out(arguments)
    flags, overrides = split_arguments(arguments)
    folder = folder_to_resume(arguments)
    if folder is None:
        return list(arguments)
    if {"-m", "--multirun"} & set(flags):
        return [*arguments, *choices_of_a_sweep(folder, overrides)]
    if any(RECIPE.match(override) for override in overrides) and not (folder / ".hydra").exists():
        return list(arguments)  # of a recipe, whose configuration may be that of a sweep
    if str(folder) == LATEST and not folder.exists():
        raise UserError(latest_of_a_run(overrides))
    if (folder / "sweep.yaml").exists():
        raise UserError(
            f"resume={str(folder)!r} is a sweep folder; to resume it, give the command of the sweep again, with -m"
        )
    refuse_links(folder, f"resume={str(folder)!r}")
    rest = [override for override in overrides if not RESUME.match(override)]
    own = without_writing(saved_overrides(folder, {key_of(override) for override in rest}), rest, folder)
    destination = [
        f"resume={quoted(folder)}",
        f"hydra.run.dir={quoted(folder)}",
        "hydra.output_subdir=null",
        "hydra.mode=RUN",
    ]
    return [*flags, *own, *rest, *destination]


def latest_of_a_run(overrides: Sequence[str]) -> str:
    """Return the sentence about `resume=latest` without -m, which names the newest sweep and the newest run.

    Args:
        overrides: as typed, perhaps with the name of the runs.
    """
    folder = folder_of_runs(overrides)
    sweep, run = (newest(folder, pattern) for pattern in ("*/sweep.yaml", "*/checkpoints/last.pt"))
    found = f"; the newest in {folder} is {sweep.parent}" if sweep is not None else ""
    single = f"resume={run.parents[1]}" if run is not None else "resume=<folder>"
    return (
        f"resume=latest resumes sweeps: repeat the command of the sweep with -m{found}; "
        f"for a single run, give its folder: {single}"
    )


def folder_of_runs(overrides: Sequence[str]) -> Path:
    """Return the folder of the runs of a command."""
    named = [override.partition("=")[2].strip("'\"") for override in overrides if override.startswith("name=")]
    return Path("outputs", named[-1] if named else "train")


def newest(folder: Path, pattern: str) -> Path | None:
    """Return the newest of the files that fit a pattern; None if there is none."""
    return max(folder.glob(pattern), key=lambda path: path.lstat().st_mtime, default=None)


def choices_of_a_sweep(folder: Path, overrides: Sequence[str]) -> list[str]:
    """Return the choices that were the defaults when a sweep was started.

    Args:
        folder: as given to `resume`; of `latest` it is the newest sweep, if that is of the same command.
        overrides: as typed.
    """
    typed = [override for override in overrides if key_of(override) not in OF_A_RESUME]
    latest = str(folder) == LATEST and not folder.exists()
    if latest:
        found = newest(folder_of_runs(overrides), "*/sweep.yaml")
        if found is None:
            return []
        folder = found.parent
    asked = readable_yaml(folder / "sweep.yaml")
    if not isinstance(asked, dict) or not isinstance(asked.get("configuration"), dict):
        return []
    own = [line for line in asked.get("overrides") or [] if line not in EARLIER_CHOICES or line in typed]
    if latest and own != typed:
        return []
    return earlier_choices(flattened(asked["configuration"]), [key_of(override) for override in overrides])


def folder_to_resume(arguments: Sequence[str]) -> Path | None:
    """Return the folder that a command line asks to resume, or None."""
    _, overrides = split_arguments(arguments)
    folders = [RESUME.sub("", override).strip("'\"") for override in overrides if RESUME.match(override)]
    return Path(folders[-1]) if folders and folders[-1] != "null" else None


def saved_overrides(folder: Path, typed: Collection[str] = ()) -> list[str]:
    """Return the overrides that a run was started with, without those of the command that started it.

    The choices that were the defaults when it was started are among them, so that other defaults do not change it.

    Args:
        folder: of the run.
        typed: keys that the resuming command sets itself.

    Raises:
        UserError: the folder is not that of a run, or an override reaches beyond the run's configuration.
    """
    path = folder / ".hydra" / "overrides.yaml"
    try:
        overrides = read_yaml(path)
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise UserError(f"resume={str(folder)!r} is not a run folder: it has no .hydra/overrides.yaml") from None
        overrides = None
    if not isinstance(overrides, list) or not all(isinstance(o, str) for o in overrides):
        raise UserError(
            f"resume={str(folder)!r} cannot be resumed: .hydra/overrides.yaml is damaged; "
            "write the run's overrides into it, each in a line such as '- optimizer=adam', or restore it from a copy"
        )
    if sum(map(len, overrides)) > LARGEST:
        raise UserError(
            f"resume={str(folder)!r} cannot be resumed: .hydra/overrides.yaml has more than {LARGEST:,} characters, "
            "which would take minutes to read"
        )
    own = [line for line in overrides if not WITHOUT_EFFECT.fullmatch(line) and key_of(line) not in typed]
    for override in own:
        if not is_of_the_run(override):
            raise UserError(
                f"resume={str(folder)!r} contains the override {cut(repr(override))}, which no run of ours writes"
            )
    return [*earlier_choices(saved_settings(folder), [*typed, *map(key_of, own)]), *own]


def saved_settings(folder: Path) -> dict[str, Any]:
    """Return the saved settings of a run, by dotted keys; empty if they cannot be read."""
    content = readable_yaml(folder / ".hydra" / "config.yaml")
    return flattened(content) if isinstance(content, dict) else {}


def is_of_the_run(override: str) -> bool:
    """Whether an override touches only what belongs to a run: its own sections, with choices from the folders of ours.

    Hydra's own settings name code and folders; so does a file that is chosen by a path with `..` in it, or that is put
    into another section with `@`. A whole section with a setting that writes files is refused too: the setting
    could not be left out. An interpolation may name other keys of the run, but not read the environment.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    key = parsed.key_or_group
    value = parsed.value()
    texts = [override, *strings(value)]
    section = re.split(r"[./]", key)[0]
    package = parsed.package
    return not (
        section in CLOSED
        or (isinstance(value, dict) and any(f"{key}.{name}" in (CACHE, DOWNLOAD) for name in strings(list(value))))
        or (package is not None and (package.split(".")[0] in CLOSED or not known(package)))
        or not only_within(texts)
        or ("." not in key and any(UPWARD.search(text) for text in texts))
    )


def strings(value: Any) -> Iterator[str]:
    """Yield the texts in the value of an override, without quotes."""
    if isinstance(value, dict):
        for pair in value.items():
            yield from strings(list(pair))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)
    else:
        yield str(getattr(value, "text", value))


def without_writing(saved: Sequence[str], typed: Sequence[str], folder: Path) -> list[str]:
    """Return saved overrides without those with which a data set writes outside the run's folder, and without limits.

    Data that the run has loaded need no download. A folder for decoded pictures has to be typed again, and so have the
    limits, which protect this machine from the folder.

    Raises:
        UserError: the run has such a folder, and this command line does not.
    """
    kept = []
    repeated = any(key_of(override) == CACHE for override in typed)
    for override in saved:
        value = override.partition("=")[2]
        if key_of(override) == CACHE and value not in ("null", "") and not repeated:
            raise UserError(
                f"resume={str(folder)!r} contains {override}, which is outside the run's folder; "
                f"to write there, repeat it: {CACHE}={value}"
            )
        if key_of(override) not in (CACHE, DOWNLOAD) and key_of(override).partition(".")[0] != LIMITS:
            kept.append(override)
    return kept
