"""The models that ship with jaxsep: their recipes and their scores."""
