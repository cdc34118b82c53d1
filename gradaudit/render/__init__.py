"""Outputs: one finding model, many forms. Only this room and `cli` print."""
