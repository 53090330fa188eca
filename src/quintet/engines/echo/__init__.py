"""The engine that answers what it was asked: every modality, deterministic, no weights.

It shows a set-up to work before any model is there, and the tests live on it.
"""

from quintet.engines.echo.engine import open_engine

__all__ = ["open_engine"]
