"""The only place that knows HTTP: the composition root, and one endpoint for every operation of every dialect."""
