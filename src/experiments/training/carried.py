"""A model that reads texts in parts: the state after a batch is the initial state of the next one, row by row.

(Truncated backpropagation through time: Williams and Peng 1990. No gradient goes back into an earlier batch.)
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from experiments.data.batches import Split
from experiments.data.sequences import readable, reading

Call = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]
"""Returns the scores of a model for a batch, in the precision of a run."""


class Carried:
    """Calls a model with the state that each row of the batch before has left.

    A row continues if its example begins where the example of that row in the batch before ends. Other rows begin with
    zeros.

    Args:
        forward: of the model: returns the scores, and the state after x, (batch, *state_shape), given x and the state
            before it.
        model: has the `state_shape`.
        follows: see `data.sequences`.
    """

    def __init__(self, forward: Callable[..., Any], model: Any, follows: Tensor) -> None:
        self.forward, self.shape, self.follows = forward, tuple(model.state_shape), follows
        self.like: Tensor = next(model.parameters())
        self.epoch = 0
        self.clear()

    def clear(self) -> None:
        """Forget the state: all rows begin anew."""
        self.index = torch.empty(0, dtype=torch.int64, device=self.follows.device)
        self.state = self.like.new_zeros(0, *self.shape, requires_grad=False)

    def begin_epoch(self, epoch: int) -> None:
        """Forget the state if another epoch begins; a resumed one continues.

        Args:
            epoch: how many are complete.
        """
        if epoch != self.epoch:
            self.epoch = epoch
            self.clear()

    def begin(self, index: Tensor) -> None:
        """Prepare for a batch, which is then read by one call or several, for some of its rows each.

        Args:
            index: (batch,), the examples.
        """
        count = min(len(index), len(self.index))
        continued = torch.zeros(len(index), dtype=torch.bool, device=index.device)
        continued[:count] = self.follows[index[:count]] & (index[:count] == self.index[:count] + 1)
        self.index = index
        self.start(continued)

    def start(self, continued: Tensor) -> None:
        """Prepare for a batch some of whose rows continue those of the batch before.

        Args:
            continued: (batch,), which ones.
        """
        count = min(len(continued), len(self.state))
        kept = continued[:count].to(self.state.device).view(-1, *(1,) * len(self.shape))
        self.before = self.state.new_zeros(len(continued), *self.shape)
        self.before[:count] = torch.where(kept, self.state[:count], 0)
        self.state, self.read = torch.zeros_like(self.before), 0

    def __call__(self, x: Tensor) -> Tensor:
        """Return the scores of the next rows of the batch."""
        rows = slice(self.read, self.read + len(x))
        self.read = rows.stop
        scores, after = self.forward(x, self.before[rows])
        self.state[rows] = after.detach()
        return scores

    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to continue within an epoch."""
        return {"epoch": self.epoch, "index": self.index, "state": self.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state."""
        self.epoch = int(state["epoch"])
        self.index, self.state = state["index"].to(self.index.device), state["state"].to(self.state)


def scored_batches(call: Call, model: nn.Module, examples: Split, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the scores of a split's examples and their targets, batch by batch, in their order.

    If examples continue each other, so does the state of the model, from zeros at the beginning of each text.

    Args:
        call: see `Call`.
        model: in evaluation mode.
        examples: the split.
        size: examples per batch.
    """
    if examples.follows is None:
        for x, y in examples.in_order(size):
            yield call(model, x), y
        return
    follows = readable(examples.follows)
    carried, order, scores, targets = Carried(model, model, follows), [], [], []
    for index in reading(follows, size):
        carried.begin(index)
        x, y = examples.batch(index)
        order.append(index.to(y.device))
        scores.append(call(carried, x))
        targets.append(y)
    back = torch.cat(order).argsort()
    yield from zip(torch.cat(scores)[back].split(size), torch.cat(targets)[back].split(size), strict=True)
