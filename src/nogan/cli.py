"""`nogan COMMAND`: finds the command and hands over to it."""
