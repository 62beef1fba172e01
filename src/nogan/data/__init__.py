"""Photographs, from where they lie to the batches that the networks see."""
