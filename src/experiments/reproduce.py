"""Reproduce claims of textbooks and papers: `python -m experiments.reproduce tier=fast`."""

from __future__ import annotations

from collections.abc import Sequence

from .cli.entry import entry_point, run_command_line

COMMAND = "python -m experiments.reproduce"
PURPOSE = """
Runs recipes. A recipe is a file in conf/experiment/ with a claim, its source, and the values that support it. Trains
the runs of each recipe, prints the claim, the expected and measured values and the verdict, and writes a page with the
figure of each lesson. Overrides are those of `experiments.train`, and apply to every run. The exit code is 1 if a claim
does not hold.
"""
EXAMPLES = (
    (COMMAND, "the fast recipes"),
    (f"{COMMAND} zero_biases zero_weights", "two recipes"),
    (f"{COMMAND} tier=mnist data.download=true", "the recipes that use MNIST"),
    ("python -m experiments.train experiment=zero_weights", "only the runs of a recipe"),
)


def help_text() -> str:
    """Return the text of `--help`: how to use the verb, and every recipe with its claim."""
    from .cli import arguments
    from .cli._help import table
    from .common.conf import conf_folder
    from .recipes.options import MEANINGS
    from .recipes.recipe import recipes

    usage = f"{COMMAND} [recipes...] [option=value ...] [override=value ...]"
    text = arguments.help_text(usage, PURPOSE, EXAMPLES, MEANINGS)
    tiers: dict[str, list[tuple[str, str]]] = {}
    for name, recipe in recipes([conf_folder()]).items():
        tiers.setdefault(recipe.tier, []).append((name, recipe.claim))
    lists = ("\n".join([f"Recipes of tier={tier}:", *table(rows)]) for tier, rows in tiers.items())
    return "\n\n".join([text, *lists])


def command_line(words: Sequence[str]) -> int:
    """Run the recipes that the command line names, and return the exit code.

    Raises:
        UserError: an option or a recipe cannot be used.
    """
    from .recipes.options import parsed

    options = parsed(words)
    from .recipes.reproducing import reproduce  # torch: only for a valid command line

    return reproduce(options)


@entry_point
def main() -> int | None:
    """Run the command line."""
    return run_command_line(command_line, help_text, needs_words=False)


if __name__ == "__main__":
    main()
