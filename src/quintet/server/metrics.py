"""Prometheus metrics whose size nobody outside can grow: every label comes from a fixed set.

Routes are templates, methods and outcomes are short lists, models come from the catalog. Whoever asks for
another method or path is counted as `other`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from quintet.dialects.base import Reply
from quintet.server.exchange import Exchange

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"
_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """The counters of one server."""

    def __init__(self, models: Iterable[str]) -> None:
        """`models` are the names that may appear as labels."""
        self._models = frozenset(models)
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "quintet_requests",
            "Requests answered, by outcome.",
            ("route", "method", "status", "outcome"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "quintet_request_seconds",
            "From the arrival of a request to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._first_byte = Histogram(
            "quintet_first_byte_seconds",
            "From the arrival of a request to the first byte of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._tokens = Counter(
            "quintet_tokens", "Tokens read and written.", ("model", "kind"), registry=self.registry
        )

    def know(self, models: Iterable[str]) -> None:
        """These names may be labels, too; only whoever installs models can add any."""
        self._models |= frozenset(models)

    def watch(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Add a gauge that is read when somebody asks."""
        Gauge(f"quintet_{name}", help_text, registry=self.registry).set_function(read)

    def record(self, exchange: Exchange, ended: float) -> None:
        """Count a request that is over."""
        route = exchange.route or OTHER
        method = exchange.method if exchange.method in METHODS else OTHER
        self._requests.labels(route, method, str(exchange.status), exchange.outcome).inc()
        self._seconds.labels(route).observe(ended - exchange.started)
        if exchange.first_byte is not None:
            self._first_byte.labels(route).observe(exchange.first_byte - exchange.started)
        if exchange.model in self._models:
            usage = exchange.usage
            if usage.prompt_tokens:
                self._tokens.labels(exchange.model, "prompt").inc(usage.prompt_tokens)
            if usage.cached_tokens:
                self._tokens.labels(exchange.model, "cached").inc(usage.cached_tokens)
            if usage.completion_tokens:
                self._tokens.labels(exchange.model, "completion").inc(usage.completion_tokens)

    def refused(self, status: int) -> None:
        """Count what was refused before it was a request."""
        self._requests.labels(OTHER, OTHER, str(status), "refused").inc()

    def render(self, foreign: Iterable[str] = ()) -> Reply:
        """All metrics in Prometheus' text format; `foreign` are texts of engines that have some of their own."""
        body = generate_latest(self.registry) + merged(foreign).encode()
        return Reply(body=body, content_type=CONTENT_TYPE)


def merged(texts: Iterable[str]) -> str:
    """Several Prometheus texts as one: the lines of each metric stand together, its description comes once."""
    families: dict[str, tuple[dict[str, str], list[str]]] = {}
    for text in texts:
        name = ""
        for line in text.splitlines():
            if line.startswith("# "):
                _, word, name, *_ = line.split(" ", 3)
                families.setdefault(name, ({}, []))[0].setdefault(word, line)
                continue
            own = line.partition("{")[0]
            family = name if name and own.startswith(name) else own
            families.setdefault(family, ({}, []))[1].append(line)
    lines = [line for described, samples in families.values() for line in (*described.values(), *samples)]
    return "\n".join(lines) + "\n" if lines else ""
