"""The proof of the rules: what they say of configs that were broken on purpose."""
