"""Measurements of speed, start-up, memory and accuracy, each beside what it should be compared with."""
