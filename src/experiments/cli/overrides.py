"""Overrides as a user types them: short forms, quoted paths, folder names."""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from experiments.common.conf import conf_folder
from experiments.common.errors import UserError
from experiments.common.foreign import read_yaml
from experiments.common.meant import pasted
from experiments.common.text import cut

LONGEST_FOLDER_NAME = 120
SHORT = {"init_from": "init_from.path", "for": "hydra.sweeper.compare"}
"""Words of the command line, and the keys that they are short for."""
OF_DATASETS = ("data.test", "data.val", "data.input", "data.gather", "data.length", "data.context", "data.workers")
"""Keys that only a Dataset of the user has; its file need not list them."""
BUILT = ("model", "init", "loss", "penalty", "optimizer", "scheduler")
"""The groups of which a command line may name a function or class with its settings, instead of a choice."""
MULTIRUN = {"-m", "--multirun"}
VALUED = {
    *("--cfg", "-c", "--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package", "-p"),
    "--experimental-rerun",
}
"""Hydra's flags that take the next word as their value."""
PLAIN = {"--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", "--shell-completion", "-sc"}
"""Its other flags, without `--info`, which may have a value."""
RECIPES = "experiment"
"""The only group of which several choices may be merged."""
MOST_VALUES = 4000
"""Values of a word on the command line; Hydra reads a list of this many in about two seconds."""
HELP = {"--help", "-h"}
INFORMING = {"--info", "-i"}
INFORMATION = {"all", "config", "defaults", "defaults-tree", "plugins", "searchpath"}
FLAGS = MULTIRUN | VALUED | PLAIN | INFORMING


def spelled_out(arguments: Sequence[str]) -> list[str]:
    """Return a command line with `init_from=<path>` as `init_from.path='<path>'`; a sweep has several, with commas.

    `for=optimizer`, the choice that a fair comparison is about, becomes a setting of the search. `data={_target_: ...}`
    and the keys that only a Dataset has are added to the configuration, see `added`. `model={_target_: ...}`, and
    so with the other groups of `BUILT`, replaces the whole choice.

    A file name may contain characters that Hydra's grammar reserves, as the folders of a sweep's runs do. Therefore
    an existing path is quoted, and the longest text that is an existing path counts as one.
    """
    words: list[str] = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and key in SHORT:
            words.append(f"{SHORT[key]}={quoted_paths(value)}")
        elif key in BUILT and value.startswith("{") and "_target_" in value:
            words += [f"~{key}", f"+{argument}"]  # Hydra would merge it with the settings of the choice
        else:
            words.append(added(argument, key, value))
    return words


def added(argument: str, key: str, value: str) -> str:
    """Return a word that sets up a Dataset of the user with the mark that lets Hydra add keys, any other one as it is.

    Args:
        argument: as typed, such as `data={_target_: mine.Pictures, root: pictures}`.
        key, value: its parts.
    """
    whole = key == "data" and value.startswith("{") and "_target_" in value
    return f"++{argument}" if whole or key in OF_DATASETS else argument


def refuse_lone_choice(arguments: Sequence[str]) -> None:
    """Refuse `for=<choice>` without the search that compares it, and `sweep.zip` without a sweep.

    Raises:
        UserError: with the command that was probably meant.
    """
    flags, overrides = split_arguments(arguments)
    choices = [word for word in overrides if word.startswith("for=")]
    searches = any(word.startswith(("search=", "hydra/sweeper=")) for word in overrides)
    if choices and not (searches and MULTIRUN & set(flags)):
        raise UserError(f"{choices[0]} belongs to a fair comparison; add -m search=fair")
    several = any(word.startswith(("hydra.mode=", "experiment=", "+experiment=", "resume=")) for word in overrides)
    if any(word.startswith("sweep.zip=[") for word in overrides) and not (several or MULTIRUN & set(flags)):
        raise UserError("sweep.zip lists the values of several runs, but this command is a single one; add -m")


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line into Hydra's flags, with the values that follow them, and the overrides."""
    flags: list[str] = []
    overrides: list[str] = []
    before = ""
    for argument in arguments:
        is_value = before in VALUED or (before in INFORMING and argument in INFORMATION)
        (flags if is_value or argument.startswith("-") else overrides).append(argument)
        before = "" if is_value else argument
    return flags, overrides


def flags_first(arguments: Sequence[str]) -> list[str]:
    """Return a command line with its flags before its overrides: Hydra does not take them after or between these."""
    flags, overrides = split_arguments(arguments)
    return [*flags, *overrides]


def unknown_flag(argument: str) -> bool:
    """Whether an argument looks like a flag that Hydra does not have; it takes the beginnings of long ones too."""
    name = argument.partition("=")[0]
    if not argument.startswith("-") or name in FLAGS:
        return False
    return not (name.startswith("--") and any(flag.startswith(name) for flag in FLAGS) and len(name) > 2)


def refuse_flag_values(arguments: Sequence[str]) -> None:
    """Refuse a value of a flag that takes none, such as `-h=optimizer` or `-m=true`.

    Raises:
        UserError: with the words that were probably meant.
    """
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals and name in MULTIRUN | PLAIN:
            topic = value if name in HELP and re.match(r"[a-z]\w", value) else ""
            more = [value] if "=" in value or topic else []
            raise UserError(f"{argument} gives {name} a value, but {name} takes none{pasted([name, *more])}")


def refuse_long_lists(arguments: Sequence[str]) -> None:
    """Refuse a word with too many values: the time that Hydra takes to parse it grows with the square of their number.

    Raises:
        UserError: with the setting and the number of its values.
    """
    for argument in arguments:
        count = argument.count(",") + 1
        if count > MOST_VALUES:
            key = argument.partition("=")[0]
            raise UserError(
                f"{cut(key)} has {count:,} values, but a setting on the command line has at most {MOST_VALUES:,}; "
                "write a longer list into a file of a folder for --config-dir, or use range(first,last)"
            )


def refuse_deep_models(arguments: Sequence[str], folder: str | Path | None) -> None:
    """Refuse a model of the user with too many layers before it is composed, which would take minutes.

    Args:
        arguments: as typed.
        folder: of the user's choices, as in `--config-dir`; None for none.

    Raises:
        UserError: with the setting and the number of its values.
    """
    chosen = [word.partition("=")[2] for word in arguments if word.startswith("model=") and "{" not in word]
    for choice in [name for words in chosen for name in words.split(",")] if folder else []:
        path = Path(folder or "", "model", f"{choice}.yaml")
        if not path.is_file() or path.stat().st_size < 2 * MOST_VALUES:
            continue
        with suppress(OSError, ValueError):  # a file that cannot be read is refused when it is composed
            content = read_yaml(path)
            for key, value in content.items() if isinstance(content, dict) else ():
                if isinstance(value, list) and len(value) > MOST_VALUES:
                    raise UserError(
                        f"model.{key} in {str(path)!r} has {len(value):,} values, but a network has at most "
                        f"{MOST_VALUES:,} layers; use fewer"
                    )


def refuse_merged_choices(arguments: Sequence[str]) -> None:
    """Refuse a list of choices of a group, such as `optimizer=[sgd,adam]`: Hydra would merge their settings.

    Raises:
        UserError: with the choices one after another.
    """
    for argument in arguments:
        match = re.fullmatch(r"([a-z_]+)=\[([\w\s,-]*)\]", argument)
        if match and match[1] != RECIPES and (conf_folder() / match[1]).is_dir():
            choices = [choice.strip() for choice in match[2].split(",") if choice.strip()]
            words = [*(["-m"] if len(choices) > 1 else []), f"{match[1]}={','.join(choices)}"] if choices else []
            raise UserError(f"{argument} would merge the settings of its choices into one{pasted(words)}")


def quoted_paths(value: str) -> str:
    """Return paths separated by commas, with quotes around those that exist or that Hydra could not read otherwise."""
    paths, rest = [], value.split(",")
    while rest:
        existing = (n for n in range(len(rest), 0, -1) if rest[0] and Path(",".join(rest[:n])).exists())
        count = next(existing, 0)
        path = ",".join(rest[: count or 1])
        paths.append(quoted(Path(path)) if count or ("=" in path and not set("'\"()[]{}") & set(value)) else path)
        rest = rest[count or 1 :]
    return ",".join(paths)


def clipped(name: str) -> str:
    """Return a job's overrides as a folder name that every file system accepts and no shell misreads."""
    return re.sub(r"[^\w.=,+-]+", "_", name)[:LONGEST_FOLDER_NAME]


def padded(number: int, digits: int = 2) -> str:
    """Return a job's number with leading zeros, so that the names of folders sort."""
    return f"{number:0{digits}d}"


def quoted(path: Path) -> str:
    """Return a path as a quoted value in Hydra's grammar, in which a backslash only matters before a quote."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", str(path))
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"
