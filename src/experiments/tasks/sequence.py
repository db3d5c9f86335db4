"""A token at each position of a sequence, such as the next character of a text."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Names

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.data.batches import Split
from experiments.data.sequences import PADDING
from experiments.losses import Loss

from .base import Task
from .metrics import OF_TOKENS

WRITTEN = 400
"""Characters of a sample."""
SAMPLES = 2


class Sequence(Task):
    """The next token at each position: scores of all tokens, whose softmax is their probabilities."""

    name = "sequence"
    form = "tokens"
    loss = "experiments.losses.cross_entropy"
    losses = ("cross_entropy",)
    metrics = ("accuracy", "bits_per_character", "perplexity")
    measures = OF_TOKENS
    objective = "loss"
    answers = "probabilities"
    about_answers = "probabilities of the next character at each position, in the order of `targets`"
    memorized = 0.5

    @property
    def summary(self) -> str:
        """See `Task.summary`."""
        return f"{self.name} of {len(self.names)} characters"

    def score_shape(self, input_shape: Names[int]) -> tuple[int, ...]:
        """See `Task.score_shape`: scores at each position."""
        return (*input_shape, self.outputs)

    def answer_shape(self, input_shape: Names[int]) -> tuple[int, ...]:
        """See `Task.answer_shape`."""
        return self.score_shape(input_shape)

    def examples_of_targets(self, count: int) -> Tensor:
        """See `Task.examples_of_targets`: of two positions."""
        return torch.zeros(count, 2, dtype=torch.int64)

    def answer(self, scores: Tensor) -> Tensor:
        """See `Task.answer`: the probabilities of the tokens."""
        return scores.double().softmax(-1)

    def exported(self, scores: Tensor) -> Tensor:
        """See `Task.exported`."""
        return scores.softmax(-1)

    def score(self, scores: Tensor, targets: Tensor) -> Tensor:
        """See `Task.score`: the share of right tokens."""
        return (scores.argmax(-1) == targets).to(scores.dtype).sum(-1) / (targets >= 0).sum(-1)

    def baseline(self, targets: Tensor) -> float:
        """See `Task.baseline`: the share of the most common token."""
        tokens = targets[targets >= 0]
        return torch.bincount(tokens).max().item() / tokens.numel()

    def chance(self, loss: Loss, targets: Tensor) -> float:
        """See `Task.chance`: of equal scores, ln of the number of tokens."""
        few = targets[:1].clamp_min(0)
        return loss(torch.zeros(*few.shape, self.outputs, device=few.device), few, reduction="mean").item()

    def lowest(self, loss: Loss, targets: Tensor) -> float:
        """See `Task.lowest`: of scores that favour only the right token; above 0 with label smoothing."""
        few = targets[:1].clamp_min(0)
        right = F.one_hot(few, self.outputs).float()
        return min(loss(size * right, few, reduction="mean").item() for size in torch.logspace(-1, 3, 50))

    def facts(self, train: Split, new: Split, scores: Tensor) -> dict[str, float]:
        """See `Task.facts`: the loss of the model and of the bigram table on new examples, in nats."""
        y = new.y.cpu()
        own = F.cross_entropy(scores.flatten(0, 1).float(), y.flatten(), ignore_index=PADDING)
        return {"loss": own.item(), "bigram": bigram_loss(bigrams(*pairs(train), self.outputs), *pairs(new))}

    def rows(self, answers: Tensor, true: Tensor) -> dict[str, Tensor]:
        """See `Task.rows`: of each window, its bits per character and the share of right ones."""
        kept = true >= 0
        probability = answers.gather(2, true.clamp_min(0).unsqueeze(2)).squeeze(2)
        bits = -probability.clamp_min(torch.finfo(torch.float64).tiny).log2() * kept
        right = (answers.argmax(2) == true).double()
        return {"bits_per_character": bits.sum(1) / kept.sum(1), "accuracy": right.sum(1) / kept.sum(1)}

    def samples(self, forward: Callable[[Tensor], Tensor], split: Split) -> str:
        """See `Task.samples`: texts that continue the beginnings of two windows, drawn from the probabilities."""
        draw = torch.Generator().manual_seed(0)
        windows = split.first(SAMPLES)[0]
        length = windows.shape[1]
        given = max(1, int((windows >= 0).sum(1).min()) // 2)
        tokens = windows[:, :given]
        for _ in range(WRITTEN):
            read = tokens if split.follows is not None else tokens[:, -length:]
            probabilities = self.answer(forward(read)[:, -1]).cpu()
            probabilities[:, 0] = 0  # not a character
            drawn = torch.multinomial(probabilities + torch.finfo(torch.float64).tiny, 1, generator=draw)
            tokens = torch.cat([tokens, drawn.to(tokens.device)], 1)
        texts = ["".join(self.names[token] for token in row) for row in tokens.tolist()]
        begun = ["".join(self.names[token] for token in row[:given]) for row in tokens.tolist()]
        return "\n\n".join(
            f"--- sample {n + 1}, which continues {begun[n]!r}:\n{one[len(begun[n]) :]}" for n, one in enumerate(texts)
        )


def pairs(split: Split) -> tuple[Tensor, Tensor]:
    """Return every token of a split and the one that follows it, both (tokens,), on the CPU, without padding."""
    x = torch.cat([part for part, _ in split.in_order(1000)])
    x, y = x.flatten().cpu(), split.y.flatten().cpu()
    return x[y >= 0], y[y >= 0]


def bigrams(first: Tensor, second: Tensor, count: int) -> Tensor:
    """Return the probabilities of each token after each token, (count, count); one is added to all counts (Laplace).

    Args:
        first, second: (tokens,), tokens that follow each other.
        count: of different tokens.
    """
    table = torch.bincount(first * count + second, minlength=count * count).view(count, count).double() + 1
    return table / table.sum(1, keepdim=True)


def bigram_loss(table: Tensor, first: Tensor, second: Tensor) -> float:
    """Return the mean negative logarithm of the probability of what follows, in nats.

    Args:
        table: (count, count), see `bigrams`.
        first, second: (tokens,), tokens that follow each other.
    """
    return -table[first, second].log().mean().item()
