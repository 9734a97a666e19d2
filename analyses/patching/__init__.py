"""What an intervention does to prompt pairs: effects of nodes and edges, circuits, attention. Knows no task."""
