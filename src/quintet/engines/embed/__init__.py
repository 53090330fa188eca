"""The embedding engine: sentence encoders over OpenVINO, whose inputs are batched across requests."""
