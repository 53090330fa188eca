"""What an answer must look like: grammars compiled and cached, and one guide per answer that says which tokens fit.

`Grammars.compile` takes the house's `Grammar` (JSON of a schema, a regular expression); `Grammars.compile_lark` takes
any text in llguidance's dialect of Lark, for formats that the engine writes itself, such as tool calls: rules with
`%json {schema}` inside, special tokens by `token_rule`, `/regex/`. Both return a `Blueprint`, of which every choice
starts its own `Guide`. Compiling is thread-safe and gives up the interpreter's lock; guides belong to the stepping
thread.
"""

from __future__ import annotations

import copy
import json
import math
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher, LLTokenizer, regex_to_lark

from quintet.core.errors import InvalidRequest
from quintet.core.requests import Grammar
from quintet.engines.text.grammar_trial import TOO_MUCH, Trial, limits
from quintet.engines.text.vocabulary import Vocabulary

MAX_CACHED = 128
MAX_CACHED_CHARACTERS = 768 * 1024
"""A compiled grammar takes up to 100 times its text, so all of them at most some 75 MB."""
SLOW_REFUSED_SECONDS = 60.0
FREE_SECONDS = 0.3
SECONDS_PER_TOKEN = 0.002
"""Processor time that the masks of one answer may take: so much at once, and so much more for each token."""
FEW = 4
"""Where less than one in so many tokens fits, they are looked at one by one."""
EMPTY = "only the empty text matches it"
_HEADER = '%llguidance {"no_forcing": true}\n'
"""Which tokens spell a forced text is the model's own choice; to settle it here would need its tokenizer's rules."""
_TOKEN = re.compile("\0(\\d+)\0")
"""What `token_rule` writes."""
_JSON_OPTIONS = {
    "item_separator": ",",
    "key_separator": ":",
    "whitespace_flexible": True,
    # Models that lose their way write blanks without end.
    "whitespace_pattern": r"[\x20\x0A\x0D\x09]{1,20}",
    "coerce_one_of": True,
    "lenient": False,
}

_ANY_OBJECT = '{"type": "object"}'

Bools = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.int64]


class Grammars:
    """Compiles grammars for one vocabulary and keeps the latest of them."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Starts to lay out the vocabulary as a tree of bytes, in a thread, because that takes a while.

        Not in a daemon thread: one that is in native code when the interpreter ends brings it down.
        """
        self._vocabulary = vocabulary
        self._trial = Trial()
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[str, str], tuple[Blueprint | InvalidRequest, float]] = OrderedDict()
        """What became of the latest grammars, and until when that holds: what was refused isn't tried again."""
        self._cached_characters = 0
        self._tokenizer: LLTokenizer | None = None
        self._layout = threading.Thread(target=self._lay_out, name="grammar-layout")
        self._layout.start()

    def wait(self) -> None:
        """Wait until the vocabulary is laid out."""
        self._layout.join()

    def compile(self, grammar: Grammar) -> Blueprint:
        """The blueprint of a caller's grammar; raises InvalidRequest that names the caller's field."""
        try:
            rule = grammar_rule(grammar)
        except (ValueError, RecursionError):
            raise _refusal(grammar.param, "recursion limit") from None
        return self.compile_lark(f"start: {rule}", grammar.param)

    def compile_lark(self, text: str, param: str) -> Blueprint:
        """The blueprint of a Lark text with a rule `start`; raises InvalidRequest that blames the field `param`."""
        key = (param, text)
        with self._lock:
            found, until = self._cache.get(key, (None, 0.0))
            if found is not None:
                self._cache.move_to_end(key)
        if found is None or until < time.monotonic():
            until = math.inf
            try:
                found = self._build(text, param)
            except InvalidRequest as refusal:
                found = refusal.with_traceback(None)  # which would keep the whole request
                if refusal.code == "grammar_too_slow":  # maybe because the machine was busy
                    until = time.monotonic() + SLOW_REFUSED_SECONDS
            self._keep(key, found, until)
        if isinstance(found, InvalidRequest):
            raise copy.copy(found)
        return found

    def _build(self, text: str, param: str) -> Blueprint:
        # The trial's vocabulary is the 256 bytes, so it has no such special tokens.
        problem = self._trial.run(_HEADER + _TOKEN.sub("<[0]>", text))
        if problem:
            raise _refusal(param, problem)
        self.wait()
        if self._tokenizer is None:
            raise RuntimeError("the vocabulary could not be laid out")
        matcher = LLMatcher(
            self._tokenizer, _HEADER + _TOKEN.sub(r"<[\1]>", text), log_level=0, limits=limits()
        )
        return Blueprint(matcher, self._vocabulary, param)

    def close(self) -> None:
        """End the child process that tries new grammars; safe to call twice."""
        self._trial.close()

    def _lay_out(self) -> None:
        self._tokenizer = LLTokenizer(_Spelling(self._vocabulary), slices=LLTokenizer.json_slices())

    def _keep(self, key: tuple[str, str], found: Blueprint | InvalidRequest, until: float) -> None:
        with self._lock:
            if key not in self._cache:
                self._cached_characters += len(key[1])
            self._cache[key] = found, until
            while len(self._cache) > MAX_CACHED or self._cached_characters > MAX_CACHED_CHARACTERS:
                (_, oldest), _ = self._cache.popitem(last=False)
                self._cached_characters -= len(oldest)


class Blueprint:
    """A compiled grammar; what `compile` and `compile_lark` return."""

    def __init__(self, matcher: LLMatcher, vocabulary: Vocabulary, param: str) -> None:
        """Works out the first mask, so that a grammar that fits nothing is refused here."""
        self.param = param
        self._vocabulary = vocabulary
        self._matcher = matcher
        self._first = _Mask(vocabulary.size)
        self._first.fill(matcher)
        if matcher.is_error():
            raise _refusal(param, matcher.get_error())
        if self._first.forbidden()[: vocabulary.size].all():
            raise _refusal(param, EMPTY)

    def start(self, vocabulary_size: int, *, ignore_eos: bool = False) -> Guide:
        """The guide of one answer, for logits of `vocabulary_size` entries."""
        return Guide(
            self._matcher.deep_copy(),
            self._first,
            vocabulary_size,
            () if ignore_eos else tuple(self._vocabulary.eos),
            self.param,
        )


class Guide:
    """Follows one answer, token by token."""

    __slots__ = (
        "_eos",
        "_mask",
        "_matcher",
        "_param",
        "_seconds",
        "_size",
        "_tokens",
        "ended",
        "few",
        "forbidden",
    )

    def __init__(
        self, matcher: LLMatcher, first: _Mask, vocabulary_size: int, eos: tuple[int, ...], param: str
    ) -> None:
        """`first` is the mask of the first token; it isn't changed."""
        self._matcher = matcher
        self._mask = _Mask(first.size)
        self._size = vocabulary_size
        self._eos = [id for id in eos if id < vocabulary_size]
        self._param = param
        self._seconds = 0.0
        self._tokens = 0
        self.forbidden: Bools
        """Which of the vocabulary's tokens [V] may not come next."""
        self.few: Ids | None
        """The tokens that may come next, where they are few."""
        self.ended = False
        """Whether the text is complete and nothing can follow."""
        self._note(first)

    def take(self, id: int) -> None:
        """Follow one chosen token; raises InvalidRequest if the grammar has become too complex to go on."""
        if id in self._eos:
            self.ended = True
            return
        begin = time.thread_time()
        self._matcher.consume_token(id)
        self._mask.fill(self._matcher)
        self._seconds += time.thread_time() - begin
        self._tokens += 1
        if self._matcher.is_error() or self._seconds > FREE_SECONDS + SECONDS_PER_TOKEN * self._tokens:
            raise InvalidRequest(
                f"`{self._param}` became too complex after {self._tokens} tokens of the answer; "
                "simplify it, above all long repetitions with an upper bound (maxLength, {m,n}).",
                param=self._param,
                code="grammar_too_complex",
            )
        self.ended = self._matcher.is_stopped()
        if not self.ended:
            self._note(self._mask)

    def _note(self, mask: _Mask) -> None:
        bits = mask.forbidden()
        end = bits[mask.size]
        if self._size <= mask.size:
            forbidden = bits[: self._size]
        else:
            forbidden = np.ones(self._size, np.bool_)  # the model has more rows than the tokenizer has tokens
            forbidden[: mask.size] = bits[: mask.size]
        forbidden[self._eos] = end
        self.forbidden = forbidden
        count = self._size - np.count_nonzero(forbidden)
        self.few = np.flatnonzero(~forbidden) if count < self._size // FEW else None
        # The text may end here, but the caller wants no end token: only a text that can't go on ends.
        if self.few is not None and not self.few.size:
            self.ended = True


class _Mask:
    """One bit per token of the vocabulary, and one for the end of the text."""

    __slots__ = ("_words", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._words = np.zeros((size + 1 + 31) // 32, np.uint32)

    def fill(self, matcher: LLMatcher) -> None:
        matcher.unsafe_compute_mask_ptr(self._words.ctypes.data, self._words.nbytes)

    def forbidden(self) -> Bools:
        """Which tokens [V] can't come next, and in the last place whether the text can't end."""
        bits = np.unpackbits((~self._words).view(np.uint8), count=self.size + 1, bitorder="little")
        forbidden: Bools = bits.view(np.bool_)
        return forbidden


class _Spelling:
    """The vocabulary as llguidance asks for it: all tokens' bytes, and one more id that means the end of the text."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary) -> None:
        # 0xFF never occurs in UTF-8, and llguidance marks special tokens with it.
        raw = [vocabulary.raw(id) for id in range(vocabulary.size)]
        self.tokens: Sequence[bytes] = [b"" if token[:1] == b"\xff" else token for token in raw] + [b"<end>"]
        self.eos_token_id = vocabulary.size
        self.special_token_ids = sorted(id for id in vocabulary.special if id < vocabulary.size)
        self.special_token_ids.append(vocabulary.size)

    def __call__(self, _text: str) -> list[int]:
        raise NotImplementedError("texts are never forced, so they are never tokenised")


def token_rule(id: int) -> str:
    """What stands in a Lark rule for one special token.

    Callers' texts hold nothing like it: what they write is tried as it is.
    """
    return f"\0{id}\0"


def grammar_rule(grammar: Grammar) -> str:
    """What stands in a Lark rule for a caller's grammar."""
    if grammar.kind == "regex":
        # Compared to Python's, `\d` means the ASCII digits alone.
        return f"/{regex_to_lark(grammar.text, 'd')}/".replace("\0", r"\x00")
    return json_rule(grammar.text or _ANY_OBJECT)


def json_rule(schema: str) -> str:
    """What stands in a Lark rule for JSON of a schema, given as JSON text."""
    value: Any = json.loads(schema)
    if isinstance(value, dict):
        value = value | {"x-guidance": _JSON_OPTIONS}
    return f"%json {json.dumps(value)}"


def _refusal(param: str, problem: str) -> InvalidRequest:
    code = "grammar_too_slow" if problem == TOO_MUCH else "invalid_grammar"
    return InvalidRequest(f"`{param}` can't be used: {_explain(problem)}.", param=param, code=code)


def _explain(problem: str) -> str:
    """Llguidance's error without what the caller wrote: only keywords and its own words are repeated."""
    if problem in (TOO_MUCH, EMPTY):
        return f"{problem}; {'simplify' if problem == TOO_MUCH else 'correct'} it"
    if match := re.search(r"Unimplemented keys: \[([^\]]*)\]", problem):
        names = re.findall(r'"(\$?[A-Za-z]{1,32})"', match[1])[:5]
        return f"the schema has keywords that can't be enforced: {', '.join(names)}; leave them out"
    if match := re.search(r"regex parse error:.*?\nerror: ([A-Za-z0-9 ,'/-]{1,100})", problem, re.DOTALL):
        return f"a regular expression is not valid ({match[1]}); correct it"
    if match := re.search(r"Expected (f64|[a-z ]{1,20}) for '([A-Za-z]{1,20})'", problem):
        return f"the schema's `{match[2]}` must be a {match[1].replace('f64', 'number')}; correct it"
    if match := re.search(r"compile JSON schema: (\$?[A-Za-z]{1,20}) must be ([a-z ]{1,40})", problem):
        return f"in the schema, `{match[1]}` must be {match[2]}; correct it"
    for words, meaning in _MEANINGS:
        if words in problem:
            return meaning
    return "it could not be compiled; see the documentation for what schemas and expressions may contain"


_MEANINGS = (
    ("nsatisfiable", "no text can match it; look for rules that contradict each other"),
    ("NoExtension", "no text can match it; look for definitions that refer to themselves without end"),
    ("min/maxProperties", "`minProperties` and `maxProperties` need all named properties to be required"),
    ("too large", "it is too large; simplify it"),
    ("fuel", "it is too complex; simplify it"),
    ("max is", "it has too many alternatives at one place; simplify it"),
    ("too many", "it is too complex; simplify it"),
    ("recursion limit", "it is nested too deeply; flatten it"),
    ("Unable to determine if regex is empty", "its patterns are too complex to be combined; simplify them"),
    ("disjoint", "two of its `patternProperties` can match the same name; make them disjoint"),
    ("format", "it uses a `format` that can't be enforced; leave `format` out"),
    ("not present in a registry", "a `$ref` or `$schema` points outside the schema; only `#/…` is followed"),
    ("circular", "a `$ref` refers to itself beside other keywords; move it"),
    ("does not exist", "a `$ref` points to nothing; correct it"),
    ("number out of range", "it has a number that is too large; correct it"),
    ("Invalid type", "`type` must be one of JSON Schema's types; correct it"),
    ("invalid regex", "a regular expression is not valid or uses what can't be enforced; correct it"),
)
"""Words of llguidance's messages and what to say instead, looked for in this order."""
