"""Many runs of one architecture as one program."""

from .program import Stack
from .sharing import reason_apart, rule_for, signature

__all__ = ["Stack", "reason_apart", "rule_for", "signature"]
