"""The metrics file."""

from .base import Observer


class MetricsFile(Observer):
    """Writes `metrics.csv` anew after each epoch, so that it is whole at any moment."""

    def epoch_end(self, row: dict[str, float]) -> None:
        """See `Observer.epoch_end`."""
        del row
        self.member.folder.write_metrics(self.member.history)
