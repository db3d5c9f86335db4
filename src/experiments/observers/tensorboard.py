"""Curves, configuration, hyperparameters and the model's graph in TensorBoard's file in the run folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from experiments.training.observer import Charts, Observer

from ._graph import graph_definition

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from experiments.training.observer import Observed
    from experiments.training.position import Position
    from experiments.training.program import Program


class TensorBoard(Observer):
    """Writes each epoch's metrics, and once the configuration, hyperparameters and graph.

    Args:
        writer: the run's event file.
        configuration: the run's configuration as YAML.
        hyperparameters: the run's choices and numbers, for the HParams tab.
    """

    charts: ClassVar[Charts] = {
        "curves": {"loss": ["train/loss", "val/loss"], "accuracy": ["train/accuracy", "val/accuracy"]}
    }

    def __init__(
        self, writer: SummaryWriter, configuration: str, hyperparameters: Mapping[str, str | float | bool]
    ) -> None:
        self.writer = writer
        self.configuration = configuration
        self.hyperparameters = hyperparameters

    def start(self, member: Observed, number: int, program: Program, position: Position) -> None:
        """See `Observer.start`."""
        super().start(member, number, program, position)
        if position.step > 0:
            return
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        writer, name = self.writer, "/".join(member.folder.path.parts[-2:])
        writer.add_text("configuration", f"```yaml\n{self.configuration}\n```")
        charts = {category: drawn for observer in member.observers for category, drawn in observer.charts.items()}
        writer.add_custom_scalars(
            {
                category: {title: ["Multiline", tags] for title, tags in drawn.items()}
                for category, drawn in charts.items()
            }
        )
        # Written to the run's own file; `add_hparams` would create a second run next to it.
        self._add(summary=hparams_pb(dict(self.hyperparameters), trial_id=name, start_time_secs=time.time()))
        graph = graph_definition(program.module(number), program.probe(number)[0][:2])
        if graph is not None:
            self._add(graph_def=graph.SerializeToString())
        writer.flush()

    def _add(self, **content: object) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.writer._get_file_writer().add_event(Event(**content), 0)

    def epoch_end(self, row: dict[str, float]) -> None:
        """See `Observer.epoch_end`."""
        epoch = int(row["epoch"])
        for name, value in row.items():
            if name not in ("epoch", "step", "seconds"):
                self.writer.add_scalar(name, value, epoch)
        self.writer.add_scalar("examples_per_second", self.position.examples_per_second, epoch)
        self.writer.flush()
