"""What is decided: one module for each claim, the rules they share, and `registry.CLAIMS`."""
