"""Figures of tables. They compute nothing."""
