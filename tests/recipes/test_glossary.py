"""Every command of the glossary can be pasted."""

import re
import shlex

import pytest

from experiments import compose
from experiments.common.conf import conf_folder
from experiments.recipes.recipe import recipes
from tests.helpers import REPOSITORY

ROWS = [line for line in (REPOSITORY / "docs" / "glossary.md").read_text().splitlines() if re.match(r"\|.*`.*`", line)]
COMMANDS = [row.rstrip("| ").rpartition("<br>`")[2].rstrip("`") for row in ROWS]
ONE_RUN = [words for command in COMMANDS if (words := shlex.split(command))[0] == "train" and "-m" not in words]
LESSONS = [words for command in COMMANDS if (words := shlex.split(command))[0] == "reproduce"]


def test_every_row_has_a_word_in_each_language_a_sentence_and_a_command() -> None:
    assert len(ONE_RUN) > 15
    assert len(LESSONS) > 15
    for row in ROWS:
        words, meaning = (cell.strip().split("<br>") for cell in row.strip("|").split("|"))
        assert len(words) == 4, row
        assert all(words), row
        assert re.match(r"\*\*[^*]+\*\*$", words[0]), row
        (sentence, command) = meaning
        assert sentence.endswith("."), row
        assert re.fullmatch(r"`[^`]+`", command), row


@pytest.mark.parametrize(
    "word",
    [
        *("dead unit", "update : weight", "residual", "seed", "stack", "probe", "equal scores", "verdict", "remedy"),
        *("interval", "calibration", "letters", "range test", "score, logit", "split", "fresh seeds", "points"),
    ],
)
def test_the_words_of_the_output_are_in_it(word: str) -> None:
    assert any(row.startswith(f"| **{word}") for row in ROWS)


@pytest.mark.slow
@pytest.mark.parametrize("words", ONE_RUN, ids=" ".join)
def test_a_training_command_is_a_configuration(words: list[str]) -> None:
    compose(*words[1:])


def test_the_lessons_exist() -> None:
    assert {words[1] for words in LESSONS} <= set(recipes([conf_folder()]))
