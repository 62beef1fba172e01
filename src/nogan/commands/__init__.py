"""Command lines that are more than a function: what they do, apart from the files that start them."""
