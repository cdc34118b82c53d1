"""gradaudit: finds, repairs and measures what in a training config spoils the gradients."""

__version__ = "0.1.0"
