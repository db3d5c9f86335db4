"""Evaluation of a trained run on a split of its data: metrics, figures and predictions."""
