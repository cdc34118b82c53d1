"""Edits carried out on a file: spliced, verified, written."""
