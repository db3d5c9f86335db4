"""`experiments <verb> ...`, the same as `python -m experiments.<verb> ...`; without a verb, the list of the verbs."""

import sys
from importlib import import_module

from .cli.entry import entry_point
from .cli.verbs import VERBS, overview, path_of
from .common.errors import UserError, nearest


@entry_point
def main() -> int:
    """Run the command line."""
    verb, *rest = sys.argv[1:] or ["--help"]
    if verb in ("-h", "--help"):
        print(overview())
    elif verb in ("-sc", "--shell-completion"):
        from .cli.completion import completion

        print(completion(rest))
    elif verb not in VERBS:
        raise UserError(f"unknown verb {verb!r}; choose from {', '.join(VERBS)}" + nearest(verb, VERBS))
    else:
        sys.argv = [str(path_of(verb)), *rest]  # as `python -m` does
        import_module(f"{__package__}.{verb}").main()
    return 0


if __name__ == "__main__":
    main()
