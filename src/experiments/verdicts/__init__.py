"""What a run's numbers mean and what to try: pure functions of its `Story`."""
