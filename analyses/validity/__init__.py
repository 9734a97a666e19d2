"""Whether a claim about a circuit holds up: 28 criteria, each with the number that meets or misses it."""
