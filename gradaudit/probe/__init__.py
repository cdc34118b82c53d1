"""What is learnt by running torch: the only room that knows it, and no command that measures nothing
imports it."""
