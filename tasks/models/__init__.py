"""What learns: shapes of models, and a fast forward pass for training."""
