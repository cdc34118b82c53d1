"""What is learnt by running torch: the only room that knows it, and only where it is asked for."""
