"""Data sets: loading, splitting, preprocessing, augmentation and batches."""
