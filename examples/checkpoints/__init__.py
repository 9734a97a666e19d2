"""The studies that `grokscope.tasks.load_study` finds by name; this folder, wherever it is installed."""
