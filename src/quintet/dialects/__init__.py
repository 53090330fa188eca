"""Wire protocols: one file each, pure, no I/O. Wire body → domain request, domain events → wire bytes."""
