"""The loop and what computes its steps: one run by torch.optim, many as one stack, one in several processes."""
