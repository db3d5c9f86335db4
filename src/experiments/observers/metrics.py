"""The metrics file."""

from experiments.training.observer import Observer


class MetricsFile(Observer):
    """Writes `metrics.csv` anew with each checkpoint, so that it is whole at any moment."""

    def before_checkpoint(self) -> None:
        """See `Observer.before_checkpoint`."""
        if self.member.history:
            self.member.folder.write_metrics(self.member.history)
