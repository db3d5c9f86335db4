"""What the lessons measure: each function takes a recipe's runs, or none, and returns numbers and a figure."""
