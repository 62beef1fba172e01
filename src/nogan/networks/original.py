"""What all of DeOldify's published models have in common."""

DEOLDIFY_SIZE = 192
"""Side in px of the pictures that they were last trained on."""
