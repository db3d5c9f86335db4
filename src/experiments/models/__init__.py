"""The models, built from torch.nn modules with telling names."""
