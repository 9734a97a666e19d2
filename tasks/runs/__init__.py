"""What training leaves: settings, checkpoints, phases, studies."""
