"""How it learns: training, sweeps, further training on new facts."""
