"""Options of the experiments, one system and size a file."""
