"""Tab completion: the script that a shell reads, and the answers to its questions."""

import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.common.errors import UserError

from ._help import groups

BASH = r"""
_experiments_complete() {
    local line="${COMP_LINE:0:$COMP_POINT}" module word prefix="" reply
    COMPREPLY=()
    case "$line" in
        @MODULES@) ;;
        *)
            if [ -n "$_experiments_before" ]; then "$_experiments_before" "$@"; return; fi
            return 0 ;;
    esac
    module="${line#* -m }"
    module="${module%% *}"
    word="${line##* }"
    word="${word//[\'\"]/}"
    # Bash replaces only what follows the last of these characters.
    if [ -n "$COMP_WORDBREAKS" ]; then prefix="${word%"${word##*[$COMP_WORDBREAKS]}"}"; fi
    while IFS= read -r reply; do
        COMPREPLY+=("${reply#"$prefix"}")
    done < <(COMP_LINE="$line" COMP_POINT="${#line}" \
        "${COMP_WORDS[0]/#\~/$HOME}" -m "$module" -sc query=bash 2>/dev/null)
    case "${COMPREPLY[0]}" in
        *[=./]) compopt -o nospace 2>/dev/null ;;
    esac
    return 0
}
for _experiments_name in @PYTHONS@; do
    if [ -n "$BASH_VERSION" ]; then
        # The completion of other Python commands, loaded when it is first asked for, stays.
        complete -p "$_experiments_name" >/dev/null 2>&1 || _completion_loader "$_experiments_name" >/dev/null 2>&1
        case "$(complete -p "$_experiments_name" 2>/dev/null)" in
            *_experiments_complete*|*_minimal*) ;;
            *"-F "*)
                _experiments_before="$(complete -p "$_experiments_name")"
                _experiments_before="${_experiments_before##*-F }"
                _experiments_before="${_experiments_before%% *}" ;;
        esac
    fi
    if type compopt >/dev/null 2>&1; then
        complete -o bashdefault -o default -F _experiments_complete "$_experiments_name"
    else
        complete -o nospace -o bashdefault -o default -F _experiments_complete "$_experiments_name"
    fi
done
unset _experiments_name
"""

ZSH = r"""
_experiments_complete() {
    local line="${(j: :)words[1,CURRENT-1]} $PREFIX" module reply
    local -a ended open
    if [[ "$line" != (@MODULES@) ]]; then
        ${_experiments_before:-_default} "$@"
        return
    fi
    module="${${line#* -m }%% *}"
    for reply in "${(@f)$(COMP_LINE="$line" ${~words[1]} -m $module -sc query=zsh 2>/dev/null)}"; do
        case "$reply" in
            "") ;;
            *[=./]) open+=("$reply") ;;
            *) ended+=("$reply") ;;
        esac
    done
    compadd -S '' -a open
    compadd -a ended
}
if (( ! $+functions[compdef] )); then autoload -U compinit && compinit; fi
if [[ "$_comps[python]" != _experiments_complete ]]; then _experiments_before="$_comps[python]"; fi
compdef _experiments_complete @PYTHONS@
"""

FISH = r"""
function __experiments_asked
    string match -qr -- ' -m +(@MODULES@) ' (commandline -cp)
end
function __experiments_complete
    set -l words (commandline -opc)
    set -l module $words[(math (contains -i -- -m $words) + 1)]
    COMP_LINE=(commandline -cp | string collect) $words[1] -m $module -sc query=fish 2>/dev/null
end
for name in @PYTHONS@
    complete -c $name -n __experiments_asked -f -a '(__experiments_complete)'
end
"""

ALLOWED = "allowed: install=bash, install=fish, install=zsh"
WORD = re.compile(r"[\w./:@%+,\[\]-]*")
"""What stands on a command line as it is."""


def completion(arguments: Sequence[str], verb: str, conf: Path) -> str:
    """Return what `-sc install=<shell>` or `-sc query=<shell>` prints.

    Args:
        arguments: what follows `-sc`.
        verb: the command that was called, whose configuration has its name.
        conf: the folder of the configurations.

    Raises:
        UserError: the shell is not one of these.
    """
    asked = re.fullmatch(r"(install|query)=(bash|fish|zsh)", " ".join(arguments))
    if asked is None:
        raise UserError(f"{' '.join(['-sc', *arguments])} completes no shell; {ALLOWED}")
    if asked[1] == "install":
        return script(asked[2], conf)
    line = os.environ.get("COMP_LINE", "")
    point = os.environ.get("COMP_POINT", "")
    return "\n".join(replies(line[: int(point)] if point.isdecimal() else line, verb, conf))


def script(shell: str, conf: Path) -> str:
    """Return what a shell evaluates to complete every verb: a configuration that has a module."""
    package = Path(__file__).resolve().parents[1]
    verbs = [path.stem for path in sorted(conf.glob("*.yaml")) if (package / f"{path.stem}.py").is_file()]
    modules = {
        "bash": "|".join(f'*" -m experiments.{verb} "*' for verb in verbs),
        "zsh": "|".join(f"*' -m experiments.{verb} '*" for verb in verbs),
        "fish": "|".join(rf"experiments\.{verb}" for verb in verbs),
    }[shell]
    pythons = " ".join(dict.fromkeys(["python", "python3", Path(sys.executable).name]))
    text = {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell]
    return text.replace("@MODULES@", modules).replace("@PYTHONS@", pythons).strip()


def replies(line: str, verb: str, conf: Path) -> list[str]:
    """Return how the last word of a command line may go on, each as the whole word.

    Args:
        line: as typed, up to the cursor: `python -m experiments.train optimizer=ad`.
        verb: the command, whose configuration has its name.
        conf: the folder of the configurations.
    """
    *words, word = typed(re.sub(r"^.*?\s-m\s+\S+|^\S+(\s+\S+\.py\b)?", "", line, count=1))
    known = flags()
    if words and words[-1] in known and known[words[-1]] is not None:
        found = known[words[-1]] or list(paths(word))
    elif word.startswith("-"):
        found = list(known)
    else:
        found = override_replies(words, word, verb, conf)
    return sorted({reply for reply in found if reply.startswith(word)})


def typed(line: str) -> list[str]:
    """Split what was typed into words; the last one, which may be empty, is the one to complete."""
    for closing in ("", "'", '"'):
        with suppress(ValueError):
            words = shlex.split(line + closing)
            ended = not closing and line[-1:].isspace()
            return [*words, ""] if ended or not words else words
    return [*line.split(), ""]


def flags() -> dict[str, list[str] | None]:
    """Return Hydra's flags, with the values that each allows: an empty list for any, None for a flag without one."""
    return {
        option: None if action.nargs == 0 else [str(choice) for choice in action.choices or ()]
        for action in get_args_parser()._actions
        for option in action.option_strings
    }


def override_replies(words: Sequence[str], word: str, verb: str, conf: Path) -> list[str]:
    """Return how an override may go on: config groups and their choices, keys and the values that they have."""
    given, further = get_args_parser().parse_known_args(words)
    overrides = [*given.overrides, *further]
    folders = [conf, *([Path(given.config_dir).expanduser().absolute()] if given.config_dir else [])]
    config = given.config_name or verb
    key, equals, value = word.partition("=")
    sign = key[: len(key) - len(key.lstrip("+~"))]
    key = key[len(sign) :]
    found = groups(folders, config)
    if not equals:
        named = [f"{group.name}=" for group in found if group.added == (sign == "+")]
        if sign != "+":
            named += keys(composed(overrides, folders, config), key)
        return [sign + (name.rstrip("=.") if sign == "~" else name) for name in named]
    choices = next((group.choices for group in found if group.name == key), None)
    if choices is not None:
        before = value[: value.rfind(",") + 1]  # the choices of a sweep so far
        return [f"{sign}{key}={before}{choice}" for choice in choices if choice not in before.split(",")]
    now = written(reached(composed(overrides, folders, config), key))
    values = [now] if now is not None and now.startswith(value) else paths(value)
    return [f"{sign}{key}={one}" for one in values]


def keys(config: Any, word: str) -> Iterator[str]:
    """Yield the keys of the section that a dotted key has come to; a section ends in `.`, a value in `=`."""
    parent, dot, _ = word.rpartition(".")
    section = reached(config, parent) if dot else config
    if isinstance(section, Mapping):
        for name, value in section.items():
            hidden = str(name).startswith("_") or (name == "hydra" and not dot and not word.startswith("h"))
            if not hidden:
                yield f"{parent}{dot}{name}{'.' if isinstance(value, Mapping) and value else '='}"


def reached(config: Any, key: str) -> Any:
    """Return what a dotted key leads to, None where it leads nowhere."""
    for name in key.split("."):
        config = config.get(name) if isinstance(config, Mapping) else None
    return config


def written(value: Any) -> str | None:
    """Return a value as one types it, None where it would have to be quoted."""
    if isinstance(value, list):
        parts = [written(one) for one in value]
        return None if None in parts else f"[{','.join(str(part) for part in parts)}]"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if value is not None and not isinstance(value, Mapping) and WORD.fullmatch(text) else None


def paths(word: str) -> Iterator[str]:
    """Yield the files and folders whose path begins with a word."""
    start = word.rpartition("/")[2]
    with suppress(OSError):
        for path in Path(word[: len(word) - len(start)] or ".").expanduser().iterdir():
            if path.name.startswith(start) and (start or not path.name.startswith(".")) and WORD.fullmatch(path.name):
                yield f"{word[: len(word) - len(start)]}{path.name}{'/' if path.is_dir() else ''}"


def composed(overrides: Sequence[str], folders: Sequence[Path], config: str) -> Any:
    """Return the configuration that a command line composes; without its overrides where they cannot be read."""
    search_path = create_config_search_path(str(folders[0]))
    for folder in folders[1:]:
        search_path.prepend("command-line", f"file://{folder}", SearchPathQuery(provider="schema"))
    loader = ConfigLoaderImpl(search_path)
    # The first of several choices says which keys there are.
    chosen = [re.sub(r"^([\w/]+=\w+),.*", r"\1", override) for override in overrides]
    for tried in (chosen, [override for override in chosen if re.fullmatch(r"[\w/]+=\w+", override)], []):
        with suppress(HydraException, OmegaConfBaseException):
            return OmegaConf.to_container(loader.load_configuration(config, tried, RunMode.MULTIRUN))
    return {}
