"""What several runs show: the statistics behind `python -m experiments.compare`."""
