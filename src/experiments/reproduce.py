"""Does what the textbooks claim come out? `python -m experiments.reproduce tier=fast`."""

from __future__ import annotations

from collections.abc import Sequence

from .cli.launch import ended

HELP = """\
python -m experiments.reproduce [recipes...] [option=value ...] [override=value ...]

Makes recipes: each is a file in conf/experiment/ with a claim, its source, and the values that bear it out. Trains its
runs, measures, prints claim, expected, measured and verdict, and writes a page with each lesson's figure. Overrides are
those of `experiments.train`, and hold for every run. The exit code is 1 where a claim does not hold.

Examples:
  python -m experiments.reproduce                                  the fast ones
  python -m experiments.reproduce signal zero_weights
  python -m experiments.reproduce tier=mnist data.download=true
  python -m experiments.train experiment=zero_weights              a recipe's runs alone

Options:
"""


def command_line(words: Sequence[str]) -> int:
    """Make what the command line names; returns the exit code.

    Raises:
        UserError: an option or a recipe is wrong.
    """
    from .cli.arguments import described
    from .recipes.options import MEANINGS, parsed

    if {"-h", "--help"} & set(words):
        from .common.conf import conf_folder
        from .recipes.recipe import recipes

        print(HELP + described(MEANINGS) + "\n\nRecipes:")
        for name, recipe in recipes([conf_folder()]).items():
            print(f"  {name:<28} {recipe.tier:<6} {recipe.claim}")
        return 0
    asked = parsed(words)
    from .recipes.reproducing import reproduce  # torch: only once the command line is in order

    return reproduce(asked)


def main() -> None:
    """Run the command line."""
    ended(command_line)


if __name__ == "__main__":
    main()
