"""Where arrays come from, how they are split, prepared and batched."""
