"""The text engine: continuous batching in Python over OpenVINO's paged attention."""
