"""Recipes: lessons that run, and whose claims are checked."""
