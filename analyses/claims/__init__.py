"""What is decided: one module for each claim, and the rules they share."""
