"""Whether two models take the same path: where the answer's states are, what they hold, and how much depends on them."""
