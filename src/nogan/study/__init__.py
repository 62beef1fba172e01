"""The evidence behind the inflection-point detectors; `python -m nogan.study` repeats it."""
