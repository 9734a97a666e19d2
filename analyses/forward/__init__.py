"""How a model is run: plain, patched, with gradients, and the slow literal way. Knows no task, no intermediate, no claim."""
