"""One conversation with one model: what was said so far, and the next answer."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

from quintet.cli.failure import Failure
from quintet.cli.remote import Remote


class Conversation:
    """The turns so far. An answer that is stopped half-way stays in, as far as it was read."""

    def __init__(self, remote: Remote, model: str, system: str = "") -> None:
        """`system` stands before the first turn, if it isn't empty."""
        self.remote = remote
        self.model = model
        self.system = system
        self.turns: list[dict[str, str]] = []

    def ask(self, text: str) -> Generator[str]:
        """Send one message and give the pieces of the answer; closing the generator stops the model."""
        question = {"role": "user", "content": text}
        system = [{"role": "system", "content": self.system}] if self.system else []
        answer = ""
        try:
            with closing(self.remote.answer(self.model, [*system, *self.turns, question])) as pieces:
                for piece in pieces:
                    answer += piece
                    yield piece
        finally:
            if answer:
                self.turns += [question, {"role": "assistant", "content": answer}]

    def clear(self) -> None:
        """Forget all turns; the system message stays."""
        self.turns.clear()


def choose_model(remote: Remote, default: str) -> str:
    """The default model if this server has it, else the first one it lists."""
    names = [str(model["id"]) for model in remote.models()]
    if not names:
        raise Failure(f"the server at {remote.url} has no models. Check: quintet doctor")
    return default if default in names else names[0]
