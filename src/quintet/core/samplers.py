"""The samplers that callers may name, under the names that they have in AUTOMATIC1111's web UI. Plain data."""
