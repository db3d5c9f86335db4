"""Curves, texts, hyperparameters and the model's graph in TensorBoard's files in the run folder."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.folders import events
from experiments.folders.hparams import Hyperparameters, session
from experiments.training.observer import Charts, Observer

from ._graph import graph_definition

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from experiments.training.observer import Observed
    from experiments.training.position import Position
    from experiments.training.program import Program

ABOUT_CURVES = f"The run's own line is its validation split; the line `.../{events.TRAINING}` is its training split."


class TensorBoard(Observer):
    """Writes each epoch's metrics, and once the overrides, the configuration, the hyperparameters and the graph.

    Args:
        writer: the run's event file.
        configuration: the run's configuration as YAML.
        overrides: as typed.
        hyperparameters: what the HParams tab shows of the run.
    """

    @property
    def charts(self) -> Charts:
        """See `Observer.charts`; one for each metric, the loss first."""
        tags = sorted(self.curves, key=f"{events.CURVES}/loss".__ne__)
        return {events.CURVES: {tag.partition("/")[2]: [f"^{tag}$"] for tag in tags}}

    def __init__(
        self,
        writer: SummaryWriter,
        configuration: str,
        overrides: Sequence[str],
        hyperparameters: Hyperparameters,
    ) -> None:
        self.writer = writer
        self.configuration = configuration
        self.overrides = overrides
        self.hyperparameters = hyperparameters
        self.described = False
        self.curves: dict[str, None] = {}

    def start(self, member: Observed, number: int, program: Program, position: Position) -> None:
        """See `Observer.start`."""
        super().start(member, number, program, position)
        purge = position.mark + 1 if position.step else None
        self.training = events.EventFile(member.folder.path / events.TRAINING, purge)
        if position.step > 0:
            return
        writer, typed = self.writer, "\n".join(shlex.quote(line) for line in self.overrides)
        writer.add_text(events.OVERRIDES, f"```sh\n{typed}\n```" if typed else "None: this is the default run.")
        writer.add_text(events.CONFIGURATION, f"```yaml\n{self.configuration}\n```")
        # Written to the run's own file; `add_hparams` would create a second run next to it.
        for summary in session(member.folder.path, self.hyperparameters):
            self._add(summary=summary)
        model = program.module(number)
        layers = tuple((name, type(layer)) for name, layer in model.named_modules())
        graph = program.common(("graph", layers), lambda: graph_definition(model, program.probe(number)[0][:2]))
        if graph is not None:
            self._add(graph_def=graph.SerializeToString())
        writer.flush()

    def _add(self, **content: object) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.writer._get_file_writer().add_event(Event(**content), 0)

    def epoch_end(self, row: dict[str, float]) -> None:
        """See `Observer.epoch_end`."""
        x = self.position.mark
        shown = {name: value for name, value in row.items() if name not in ("epoch", "step", "seconds")}
        shown["examples_per_second"] = self.position.examples_per_second
        validated = any(name.startswith("val/") for name in row)
        own: dict[str, float] = {}
        training: dict[str, float] = {}
        for name, value in shown.items():
            folder, tag = events.series(name, validated=validated)
            (training if folder else own)[tag] = value
        if row["epoch"] == 1:
            self.curves = dict.fromkeys(tag for tag in (*own, *training) if tag.startswith(f"{events.CURVES}/"))
            self.add_charts()
        about = dict.fromkeys(training, ABOUT_CURVES) if not self.described else {}
        self.writer._get_file_writer().add_event(events.scalars(own, x, about), x)
        if training:
            self.training.add(events.scalars(training, x, about))
            self.described = True

    def before_checkpoint(self) -> None:
        """See `Observer.before_checkpoint`: a stack writes the events of several epochs at once."""
        self.writer.flush()
        self.training.flush()

    def close(self) -> None:
        """See `Observer.close`."""
        self.before_checkpoint()

    def add_charts(self) -> None:
        """Write the charts of all observers: now it is known which layers have which quantities."""
        charts = {category: drawn for observer in self.member.observers for category, drawn in observer.charts.items()}
        self.writer.add_custom_scalars(
            {
                category: {title: ["Multiline", tags] for title, tags in drawn.items()}
                for category, drawn in charts.items()
            }
        )
