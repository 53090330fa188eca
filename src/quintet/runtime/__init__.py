"""Which model runs, for whom, when: worker processes, the one backend of this machine, and the service above it."""
