"""From the command line to a verb's task: overrides, composing, folders, help, completion, errors in one sentence."""

from .folders import FreshFolder

__all__ = ["FreshFolder"]  # configurations of users name it `experiments.cli.FreshFolder`
