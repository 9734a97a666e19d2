"""What is asked: graphs, questions, splits, prompt pairs, files."""
