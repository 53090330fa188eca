"""Models that another OpenAI-compatible server runs: reached by URL, or started by a command of the operator's."""

from quintet.engines.upstream.engine import open_engine

__all__ = ["open_engine"]
