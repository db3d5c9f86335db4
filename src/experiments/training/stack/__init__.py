"""Many runs of one architecture as one program."""

from ._evaluating import scores_together
from ._explicit import stack_of
from ._program import Stack
from ._sharing import architecture, configured, mixes, reason_apart, rule_for, signature

__all__ = [
    "Stack",
    "architecture",
    "configured",
    "mixes",
    "reason_apart",
    "rule_for",
    "scores_together",
    "signature",
    "stack_of",
]
