"""Parts that every package may use: errors, files, text, keys, metrics, the screen, signatures."""
