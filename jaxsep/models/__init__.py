"""Published systems as pure Flax modules."""
