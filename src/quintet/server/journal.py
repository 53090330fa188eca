"""Writes down every request once, as a log line and in the metrics."""

from __future__ import annotations

import time
from dataclasses import fields

from quintet.core.events import Usage
from quintet.log import Logger
from quintet.runtime.meter import Record
from quintet.server.endpoint import CURRENT
from quintet.server.exchange import Exchange
from quintet.server.metrics import Metrics


class Journal:
    """The end of every request."""

    def __init__(self, logger: Logger, metrics: Metrics) -> None:
        """Both are written to without waiting."""
        self._logger = logger
        self._metrics = metrics

    def take(self, record: Record) -> None:
        """The meter's sink: what the work of one request was, added to the exchange it belongs to."""
        exchange = CURRENT.get()
        if exchange is None:
            return
        exchange.model = record.model
        exchange.usage = _add(exchange.usage, record.usage)
        exchange.queue_seconds = max(exchange.queue_seconds or 0.0, record.queue_ms / 1000)

    def write(self, exchange: Exchange) -> None:
        """Note a request that is over."""
        ended = time.monotonic()
        self._metrics.record(exchange, ended)
        principal = exchange.principal
        self._logger.log(
            "info" if exchange.status < 500 else "warning",
            "request",
            request_id=exchange.request_id,
            method=exchange.method,
            route=exchange.route or None,
            status=exchange.status,
            outcome=exchange.outcome,
            error=exchange.error_code or None,
            owner=principal.owner if principal else None,
            key_id=(principal.key_id or None) if principal else None,
            model=exchange.model or None,
            dialect=exchange.dialect or None,
            prompt_tokens=exchange.usage.prompt_tokens,
            completion_tokens=exchange.usage.completion_tokens,
            queue_ms=_milliseconds(exchange.queue_seconds),
            first_byte_ms=_milliseconds(exchange.first_byte and exchange.first_byte - exchange.started),
            total_ms=_milliseconds(ended - exchange.started),
        )

    def note_refused(self, status: int, address: str) -> None:
        """Note what was refused before it was a request: too slow, too large, or not HTTP."""
        self._metrics.refused(status)
        self._logger.log("info", "refused", status=status, address=address)


def _add(left: Usage, right: Usage) -> Usage:
    """The usage of two requests of one call together."""
    return Usage(
        **{part.name: getattr(left, part.name) + getattr(right, part.name) for part in fields(Usage)}
    )


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
