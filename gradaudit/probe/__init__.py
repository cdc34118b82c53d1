"""Measuring a real training. Nothing here is imported by a command that does not measure."""
