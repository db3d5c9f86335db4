"""Many runs of one architecture as one program."""

from .evaluating import scores_together
from .program import Stack
from .sharing import architecture, reason_apart, rule_for, signature

__all__ = ["Stack", "architecture", "reason_apart", "rule_for", "scores_together", "signature"]
