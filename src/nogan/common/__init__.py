"""Small pieces that every other package knows: errors, files, randomness, colors, processes and threads."""
