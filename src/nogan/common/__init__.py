"""Small modules that all packages use: errors, files, randomness, colors, processes and threads."""
