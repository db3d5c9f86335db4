"""What a trained run is worth on a split of its data: scores, figures and predictions."""
