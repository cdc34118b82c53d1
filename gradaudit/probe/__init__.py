"""What is learnt by running torch. The only room that imports it, and only where it is used."""
