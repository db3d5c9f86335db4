"""Models, built from torch.nn modules with descriptive names, and what can be measured in them."""
