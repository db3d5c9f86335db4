"""The names of torchvision's transforms that can be an augmentation; torch is not needed here."""

TRANSFORMS = (
    "ElasticTransform",
    "GaussianBlur",
    "RandomAffine",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomPerspective",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
)
"""Those that can follow the preparation: others expect pixels from 0 to 1, and clip them."""
