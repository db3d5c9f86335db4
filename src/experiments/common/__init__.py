"""What every part may use and that knows nothing of learning: errors, files, text, keys, metrics, the screen."""
