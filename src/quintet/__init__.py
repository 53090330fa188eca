"""Quintet: one self-hosted server for generative models, in the API dialects that clients already speak."""

__version__ = "0.1.0"
