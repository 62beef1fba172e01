"""How good a colorizer is, in numbers."""
