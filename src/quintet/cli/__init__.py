"""The command line: thin commands over the rooms below. Heavy imports happen inside the commands."""
