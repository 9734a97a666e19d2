"""Behaviour by training step: growth, exposure, loops, trajectories of circuits."""
