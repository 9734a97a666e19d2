"""Figures. They take tables and compute nothing."""
