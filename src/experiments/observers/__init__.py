"""What watches training and never changes it."""
