"""A setting that a file does not list, but that is a parameter of the user's function or class."""

import pytest
import torch

from experiments import UserError, compose
from tests.helpers import SMALL, Commands


class Scaled(torch.optim.SGD):
    """An optimizer of a user."""

    def __init__(self, params: object, lr: float = 0.1, betas: tuple[float, float] = (0.9, 0.99)) -> None:
        super().__init__(params, lr)  # type: ignore[arg-type]
        self.betas = betas


def factory(name: str, num_classes: int = 1000, **more: int) -> torch.nn.Module:
    """A function of a user that builds models."""
    del name, more
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, num_classes))


OPTIMIZER = f"_target_: {__name__}.Scaled\nlr: 0.1\n"
MODEL = f"_target_: {__name__}.factory\nname: mini\n"


@pytest.fixture
def own(commands: Commands) -> Commands:
    """A folder with an optimizer and a model of the user."""
    for group, text in (("optimizer", OPTIMIZER), ("model", MODEL)):
        (commands.folder / "own" / group).mkdir(parents=True)
        (commands.folder / "own" / group / "mine.yaml").write_text(text)
    return commands


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["optimizer=mine", "optimizer.betas=[0.9,0.95]"],
            "unknown key 'optimizer.betas'; Scaled takes betas: add '+optimizer.betas=[0.9,0.95]'",
        ),
        (["model=mine", "model.num_classes=10"], "factory takes num_classes: add +model.num_classes=10"),
        (["model=mine", "model.depth=3"], "unknown key 'model.depth'; +model.depth=3 passes it to factory"),
        (
            [f"optimizer={{_target_:{__name__}.Scaled}}", "optimizer.lr=-1"],
            "optimizer.lr is not among the settings that are typed in braces; Scaled takes lr: add +optimizer.lr=-1",
        ),
        (
            ["model=mine", "+model.num_classes=7"],
            "expected scores of shape (1, 10); factory has num_classes: add model.num_classes=10",
        ),
        (["model=mine"], "expected scores of shape (1, 10); factory has num_classes: add +model.num_classes=10"),
    ],
)
def test_the_parameter_is_named_and_no_other_choice(own: Commands, words: list[str], sentence: str) -> None:
    refused = own.train("--config-dir", "own", *SMALL[:2], *SMALL[3:], *words).refusal()
    assert sentence in refused
    assert "did you mean" not in refused


def test_the_help_tells_how_a_choice_of_the_user_is_described(own: Commands) -> None:
    shown = " ".join(own.train("--config-dir", "own", "--help", "model").out.split())
    assert f"mine {__name__}.factory (a comment in the first line of mine.yaml is shown here)" in shown


@pytest.mark.usefixtures("own")
def test_a_choice_of_the_user_is_not_swapped_for_another() -> None:
    with pytest.raises(UserError, match=r"did you mean 'optimizer=adam'\?$"):
        compose("model=mine", "optimizer=adm", config_dir="own")
