"""The studies: the evidence behind the inflection-point detectors, and one network with a knob; `nogan study`."""
