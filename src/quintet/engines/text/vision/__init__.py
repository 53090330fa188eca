"""Vision encoders, one module per family of models: pixels in, embeddings for the prompt out."""
