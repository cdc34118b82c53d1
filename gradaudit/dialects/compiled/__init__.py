"""Generated from the dialect files by `gradaudit.dialects.compile`."""
