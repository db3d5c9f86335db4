"""Tab completion of `experiments`: the script that a shell evaluates, and the replies to its queries."""

import os
import re
import shlex
from collections.abc import Sequence
from contextlib import suppress

from experiments.common.conf import conf_folder
from experiments.common.errors import UserError

from .verbs import VERBS

BASH = r"""
_experiments_complete() {
    local line="${COMP_LINE:0:$COMP_POINT}" word prefix="" reply
    COMPREPLY=()
    word="${line##* }"
    word="${word//[\'\"]/}"
    # Bash replaces only the part after the last of these characters.
    if [ -n "$COMP_WORDBREAKS" ]; then prefix="${word%"${word##*[$COMP_WORDBREAKS]}"}"; fi
    while IFS= read -r reply; do
        COMPREPLY+=("${reply#"$prefix"}")
    done < <(COMP_LINE="$line" COMP_POINT="${#line}" "${COMP_WORDS[0]/#\~/$HOME}" -sc query=bash 2>/dev/null)
    case "${COMPREPLY[0]}" in
        *[=./]) compopt -o nospace 2>/dev/null ;;
    esac
    return 0
}
if type compopt >/dev/null 2>&1; then
    complete -o bashdefault -o default -F _experiments_complete experiments
else
    complete -o nospace -o bashdefault -o default -F _experiments_complete experiments
fi
"""

ZSH = r"""
_experiments_complete() {
    local line="${(j: :)words[1,CURRENT-1]} $PREFIX" reply
    local -a ended open
    for reply in "${(@f)$(COMP_LINE="$line" COMP_POINT="${#line}" ${~words[1]} -sc query=zsh 2>/dev/null)}"; do
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
compdef _experiments_complete experiments
"""

FISH = r"""
function __experiments_complete
    set -l words (commandline -opc)
    COMP_LINE=(commandline -cp | string collect) $words[1] -sc query=fish 2>/dev/null
end
complete -c experiments -f -a '(__experiments_complete)'
"""

SCRIPTS = {"bash": BASH.strip(), "fish": FISH.strip(), "zsh": ZSH.strip()}


def completion(arguments: Sequence[str]) -> str:
    """Return the text that `-sc install=<shell>` or `-sc query=<shell>` prints.

    Args:
        arguments: those after `-sc`.

    Raises:
        UserError: it is neither, or the shell is not supported.
    """
    match = re.fullmatch(rf"(install|query)=({'|'.join(SCRIPTS)})", " ".join(arguments))
    if match is None:
        allowed = ", ".join(f"install={shell}" for shell in SCRIPTS)
        raise UserError(f"'{' '.join(['-sc', *arguments])}' is not supported; choose from {allowed}")
    if match[1] == "install":
        return SCRIPTS[match[2]]
    line = os.environ.get("COMP_LINE", "")
    point = os.environ.get("COMP_POINT", "")
    return "\n".join(replies(line[: int(point)] if point.isdecimal() else line))


def replies(line: str) -> list[str]:
    """Return the whole words that the last word of a command line may become.

    Args:
        line: as typed, up to the cursor: `experiments train optimizer=ad`.
    """
    *words, word = typed_words(line)
    if len(words) < 2:
        candidates = ["--help", "--version"] if word.startswith("-") else list(VERBS)
        return [candidate for candidate in candidates if candidate.startswith(word)]
    from ._replies import path_replies, verb_replies  # Hydra: not for the list of the verbs

    _, verb, *words = words
    if (conf_folder() / f"{verb}.yaml").is_file():
        return verb_replies(words, word, verb)
    return path_replies(word)


def typed_words(line: str) -> list[str]:
    """Split a line into words; the last one, which may be empty, is the one to complete."""
    for closing in ("", "'", '"'):
        with suppress(ValueError):
            words = shlex.split(line + closing)
            between_words = not closing and line[-1:].isspace()
            return [*words, ""] if between_words or not words else words
    return [*line.split(), ""]
