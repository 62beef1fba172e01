"""What watches a run from outside its steps: measures, shows, saves and reports."""
