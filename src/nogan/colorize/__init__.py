"""Photographs and film to color, with any generator."""
