"""The program: measure a study, keep what was measured, decide, report."""
