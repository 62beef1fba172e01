"""The evidence behind the inflection-point detectors; `nogan study` repeats it."""
