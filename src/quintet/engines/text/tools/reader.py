"""Reads tool calls out of an answer while it is being written: text goes on at once, calls become parts of calls.

What a call looks like is a format's script: a generator that sees one symbol at a time in `reader.symbol` and moves on
by `yield`. So the result never depends on how the answer was cut into tokens. Text is held back only while it may
still be the beginning of a call; whatever turns out to be none is given as text, unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator
from typing import Protocol, TypeVar

from quintet.core.events import ToolCallPart

MAX_HELD = 65_536
"""Symbols held back at most for what may be a call; more is no call."""
ARGUMENTS = frozenset({"arguments", "parameters"})
ENVELOPE = frozenset({"name", "type", "id", *ARGUMENTS})
"""Members of a call object; any other before the arguments means that it is something else."""
_SCALAR = frozenset("+-._'")
"""What is written outside of strings and brackets beside letters and digits; a little more than JSON has."""
_CLOSER = {"{": "}", "[": "]"}

Result = TypeVar("Result")
Steps = Generator[None, None, Result]


class Malformed(Exception):
    """What was read is no call after all."""


class Script(Protocol):
    """How one format's answers are read, from the first symbol to the last."""

    def __call__(self, reader: CallReader) -> Steps[None]:
        """Yields once per symbol, and returns at the end of the answer."""
        ...


class CallReader:
    """One answer on its way from tokens to text and calls."""

    def __init__(
        self,
        script: Script,
        names: Collection[str],
        *,
        new_id: Callable[[], str],
        special: Collection[str] = (),
        shows_special: bool = False,
        parallel: bool = True,
        choice: int = 0,
    ) -> None:
        """Calls of functions not in `names` are text. `special` are the markers that are special tokens.

        Those count only as tokens, not when they are spelled out, and are text only with `shows_special`.
        Without `parallel`, the reader is `complete` after one call.
        """
        self.symbol = ""
        """One character, a whole special marker, or "" at the end."""
        self.begun = 0
        self.complete = False
        self._names = names
        self._new_id = new_id
        self._special = special
        self._shows_special = shows_special
        self._parallel = parallel
        self._choice = choice
        self._held: list[str] = []
        self._space: list[str] = []
        """White space that is left out if a call follows."""
        self._after_call = False
        self._text: list[str] = []
        self._parts: list[ToolCallPart] = []
        self._fragment: list[str] = []
        self._ended = False
        self._steps = self._run(script)
        next(self._steps)

    def feed(self, text: str, *, is_marker: bool = False) -> tuple[str, list[ToolCallPart]]:
        """Take more of the answer; returns the text to show and the parts of calls that came with it.

        `is_marker` says that `text` is a special token of the format.
        """
        for symbol in (text,) if is_marker else text:
            if self.complete:
                break
            self.symbol = symbol
            next(self._steps)
        return self._take()

    def finish(self) -> tuple[str, list[ToolCallPart]]:
        """The answer is over: what was held back comes out."""
        if not self._ended and not self.complete:
            self._ended = True
            self.symbol = ""
            next(self._steps)
        return self._take()

    # ------------------------------------------------------------------------------------------- words of scripts

    def skip_to(self, marker: str) -> Steps[bool]:
        """Pass text on until right after `marker`, which stays held; False if the answer ends before."""
        first = marker if marker in self._special else marker[0]
        while self.symbol:
            if self.symbol.isspace():
                self._space.append(self.symbol)
                yield
            elif self.symbol != first:
                self._say([self.symbol])
                yield
            elif (yield from self.match(marker)):
                self._held = self._space + self._held
                self._space = []
                return True
            else:
                self.release()
        if not self._after_call:
            self._say([])
        return False

    def pass_space(self) -> Steps[None]:
        """Keep white space for the text that follows, unless that is a call."""
        while self.symbol.isspace():
            self._space.append(self.symbol)
            yield

    def skip(self, marker: str) -> Steps[None]:
        """Leave `marker` out if it comes next."""
        yield from self.pass_space()
        if (yield from self.match(marker)):
            self._held = []
            self._space = []
        else:
            self.release()

    def match(self, marker: str) -> Steps[bool]:
        """Hold `marker` if it comes now; else hold as much of it as came. Its first character must not recur in it."""
        symbols = (marker,) if marker in self._special else tuple(marker)
        for symbol in symbols:
            if self.symbol != symbol:
                return False
            yield from self.hold()
        return True

    def hold(self) -> Steps[None]:
        """Keep this symbol back and go on to the next."""
        if len(self._held) >= MAX_HELD or not self.symbol:
            raise Malformed
        self._held.append(self.symbol)
        yield

    def hold_space(self) -> Steps[None]:
        """Keep white space back."""
        while self.symbol.isspace():
            yield from self.hold()

    def expect(self, symbol: str) -> Steps[None]:
        """Keep this one symbol back; raises Malformed if another one comes."""
        if self.symbol != symbol:
            raise Malformed
        yield from self.hold()

    def release(self) -> None:
        """What is held is text; white space after a call may still be left out."""
        held, self._held = self._held, []
        if self._after_call and all(symbol.isspace() for symbol in held):
            self._space += held
        elif held:
            self._say(held)

    def drop(self) -> None:
        """What is held belongs to a call and is not shown."""
        self._held = []

    def begin(self, name: str) -> None:
        """A call of this function begins; what is held was its beginning."""
        self._flush()
        self._held = []
        self._space = []
        self._parts.append(ToolCallPart(self._choice, self.begun, id=self._new_id(), name=name))
        self.begun += 1

    def stream_arguments(self) -> Steps[None]:
        """Pass on a JSON object as the arguments of the call that has begun; the call ends with it, whole or broken."""
        try:
            yield from self._scan(self._argue, self._end)
        finally:
            self._end()

    def read_calls(self) -> Steps[None]:
        """One call object, or an array of them."""
        yield from self.hold_space()
        if self.symbol != "[":
            yield from self.read_call()
            return
        yield from self.hold()
        while True:
            yield from self.read_call()
            yield from self.hold_space()
            if self.symbol != ",":
                yield from self.expect("]")
                self.drop()
                return
            yield from self.hold()

    def read_call(self) -> Steps[None]:
        """An object with `name` and `arguments` (or `parameters`), which are passed on as they come."""
        name, arguments, begun = "", "{}", self.begun
        yield from self.hold_space()
        yield from self.expect("{")
        while True:
            key = yield from self._read_member_name()
            is_open = self.begun > begun
            if not is_open and key not in ENVELOPE:
                raise Malformed
            if key == "name" and not is_open:
                name = self.check_name(json_value((yield from self._capture())))
            elif key in ARGUMENTS and not is_open:
                if name and self.symbol == "{":
                    self.begin(name)
                    yield from self.stream_arguments()
                else:
                    arguments = as_object((yield from self._capture()))
            else:
                yield from self._scan(self.hold)
            yield from self.hold_space()
            if self.symbol != ",":
                break
            yield from self.hold()
        yield from self.expect("}")
        if self.begun == begun:
            self.begin(self.check_name(name))
            self._fragment.append(arguments)
            self._end()
        self.drop()

    def check_name(self, name: object) -> str:
        """The name of a function there is; raises Malformed."""
        if not isinstance(name, str) or name not in self._names:
            raise Malformed
        return name

    # ---------------------------------------------------------------------------------------------------- its own

    def _run(self, script: Script) -> Steps[None]:
        yield
        yield from script(self)
        while True:
            yield

    def _read_member_name(self) -> Steps[str]:
        yield from self.hold_space()
        if self.symbol != '"':
            raise Malformed
        name = json_value((yield from self._capture()))
        yield from self.hold_space()
        yield from self.expect(":")
        yield from self.hold_space()
        return str(name)

    def _capture(self) -> Steps[str]:
        """The text of one JSON value, which is held."""
        start = len(self._held)
        yield from self._scan(self.hold)
        return "".join(self._held[start:])

    def _scan(self, step: Callable[[], Steps[None]], done: Callable[[], None] | None = None) -> Steps[None]:
        """One JSON value, as far as brackets and strings tell; `step` takes each symbol, `done` is told of the last."""
        awaited: list[str] = []
        while True:
            symbol = self.symbol
            if symbol == '"':
                yield from self._scan_string(step)
            elif symbol in _CLOSER:
                awaited.append(_CLOSER[symbol])
                yield from step()
            elif awaited and symbol == awaited[-1]:
                awaited.pop()
                if done is not None and not awaited:
                    done()
                yield from step()
            elif _is_scalar(symbol):
                while _is_scalar(self.symbol):
                    yield from step()
            elif awaited and (symbol in (",", ":") or symbol.isspace()):
                yield from step()
            else:
                raise Malformed
            if not awaited:
                return

    def _scan_string(self, step: Callable[[], Steps[None]]) -> Steps[None]:
        yield from step()
        while self.symbol != '"':
            if self.symbol == "\\":
                yield from step()
            if len(self.symbol) != 1:
                raise Malformed
            yield from step()
        yield from step()

    def _end(self) -> None:
        self._after_call = True
        self.complete = not self._parallel

    def _flush(self) -> None:
        """The arguments that came since the last time, as one part."""
        if self._fragment:
            fragment = "".join(self._fragment)
            self._parts.append(ToolCallPart(self._choice, self.begun - 1, arguments=fragment))
            self._fragment = []

    def _argue(self) -> Steps[None]:
        self._fragment.append(self.symbol)
        yield

    def _say(self, symbols: list[str]) -> None:
        """Show this, and the white space before it."""
        shown = [one for one in symbols if len(one) == 1 or self._shows_special]
        self._text += self._space + shown
        self._space = []
        self._after_call = False

    def _take(self) -> tuple[str, list[ToolCallPart]]:
        """What came since the last time."""
        self._flush()
        text, parts = "".join(self._text), self._parts
        self._text, self._parts = [], []
        return text, parts


def _is_scalar(symbol: str) -> bool:
    return len(symbol) == 1 and (symbol.isalnum() or symbol in _SCALAR)


def json_value(text: str) -> object:
    """What a JSON text says; raises Malformed."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed from error
    return value


def as_object(text: str) -> str:
    """Arguments as a JSON object, which some models write as a string or leave out; raises Malformed."""
    value = json_value(text)
    if value is None:
        return "{}"
    if isinstance(value, str):
        text, value = value, json_value(value)
    if not isinstance(value, dict) or has_surrogates(text):
        raise Malformed
    return text


def has_surrogates(text: str) -> bool:
    """Whether a text holds half a surrogate pair, as escapes in JSON can say but UTF-8 can't."""
    return any("\ud800" <= char <= "\udfff" for char in text)
