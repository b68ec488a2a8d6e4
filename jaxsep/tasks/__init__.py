"""Where a model, a simulation and a loss meet."""
