"""The metrics file."""

from experiments.folders.run import METRICS
from experiments.training.observer import Observer


class MetricsFile(Observer):
    """Rewrites `metrics.csv` at each checkpoint, so that the file is complete at any time."""

    def before_checkpoint(self) -> None:
        """See `Observer.before_checkpoint`."""
        if self.member.history:
            self.member.folder.write_metrics(self.member.history)

    def tables(self) -> dict[str, tuple[int, int]]:
        """See `Observer.tables`; the checkpoint has the rows themselves."""
        return {METRICS: (len(self.member.history), 0)}
