"""A running server as the commands see it: its models, and its answers piece by piece."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import httpx

from quintet.cli.failure import Failure

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 120.0
"""Longest silence while waiting for the next piece of an answer."""


class Unreachable(Failure):
    """Nobody answers at that address."""


class Refusal(Failure):
    """The server answered, but not with what was asked for."""


class Remote:
    """One server, spoken to in OpenAI's dialect."""

    def __init__(self, url: str, key: str = "", patience_seconds: float = ANSWER_SECONDS) -> None:
        """`url` is the root, with or without /v1; patience is the longest silence borne."""
        root = url.rstrip("/").removesuffix("/v1")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(patience_seconds, connect=CONNECT_SECONDS)
        self.url = root
        self.patience_seconds = patience_seconds
        self._client = httpx.Client(base_url=root, headers=headers, timeout=timeout, trust_env=False)

    def models(self) -> list[dict[str, Any]]:
        """What the server lists at /v1/models."""
        try:
            response = self._client.get("/v1/models")
        except httpx.HTTPError as error:
            raise self._lost(error) from None
        _check(response)
        try:
            return list(response.json()["data"])
        except (ValueError, KeyError, TypeError):
            raise Failure(f"what answers at {self.url} is no Quintet server. Check the address") from None

    def answer(self, model: str, messages: Sequence[dict[str, str]]) -> Generator[str]:
        """The pieces of one answer as they arrive; closing the iterator cancels it on the server."""
        body = {"model": model, "messages": list(messages), "stream": True}
        try:
            with self._client.stream("POST", "/v1/chat/completions", json=body) as response:
                if response.status_code != 200:
                    response.read()
                    _check(response)
                yield from _pieces(response.iter_lines())
        except httpx.HTTPError as error:
            raise self._lost(error) from None

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def _lost(self, error: httpx.HTTPError) -> Failure:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return Unreachable(
                f"no server answers at {self.url}. Start one with: quintet serve (or: make serve)"
            )
        if isinstance(error, httpx.TimeoutException):
            return Failure(
                f"the server at {self.url} was silent for {self.patience_seconds:.0f} s. Check: quintet doctor"
            )
        return Failure(f"the connection to {self.url} broke. Check the server's log, then ask again")


def _pieces(lines: Iterator[str]) -> Iterator[str]:
    """The text in the chunks of an event stream; a stream that breaks off is a Failure."""
    for line in lines:
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        chunk = json.loads(data)
        if chunk.get("error"):
            raise Refusal(_message(chunk))
        for choice in chunk.get("choices", ()):
            yield choice.get("delta", {}).get("content") or ""
    raise Failure("the answer broke off before its end. Check the server's log, then ask again")


def _check(response: httpx.Response) -> None:
    if response.status_code == 200:
        return
    try:
        message = _message(response.json())
    except ValueError:
        message = ""
    hint = ". Pass a key with --key, or make one with: quintet keys create --owner NAME"
    needs_key = response.status_code == 401 and "keys create" not in message
    raise Refusal((message or f"the server answered {response.status_code}") + (hint if needs_key else ""))


def _message(body: object) -> str:
    """The text of an error body; TGI's form has a bare string where OpenAI's has an object."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        return str(error.get("message", ""))
    return str(error or "")
