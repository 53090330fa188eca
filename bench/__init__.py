"""Benchmarks: every number is a ratio, or a time beside its bar, measured in one run on one machine."""
