"""From a request to token ids: chat template, tokenisation, and the checks that need the model's numbers.

Thread-safe, and kept off the stepping thread: a prompt that is slow to read delays nobody's tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from quintet.core.content import Image, Message
from quintet.core.errors import ContextTooLong, InvalidRequest, Unsupported
from quintet.core.events import Tokenized
from quintet.core.requests import Request, TextRequest, TokenizeRequest, ToolUse
from quintet.engines.text.adapters import Adapter
from quintet.engines.text.grammar import Blueprint
from quintet.engines.text.pictures import Placed, Placer, keep_last
from quintet.engines.text.tools import Toolbox
from quintet.engines.text.vision.family import Family, Positions
from quintet.engines.text.vocabulary import Vocabulary

CUT_MARGIN = 4
"""With `truncate`, text is kept for so many times the tokens that are wanted, each taken as the longest there is."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request and its prompt's ids, ready to be scheduled."""

    request: TextRequest
    ids: list[int]
    max_new_tokens: int
    adapter: Adapter | None = None
    blueprint: Blueprint | None = None
    """What the answers must look like."""
    pictures: Sequence[Placed] = ()
    positions: Positions | None = None
    """Positions [axes, prompt], for models where a token's position is more than its index."""


class Prompts:
    """Turns requests into prompts within the limits of one model."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        toolbox: Toolbox,
        *,
        model: str,
        vocabulary_size: int,
        context_length: int,
        max_input_tokens: int | None,
        family: Family | None = None,
    ) -> None:
        """Lengths in tokens; `vocabulary_size` is the model's, which may exceed the tokenizer's.

        `family` is how the model sees; None for one that doesn't.
        """
        self._family = family
        self._placer = Placer(family, vocabulary) if family is not None else None
        self._vocabulary = vocabulary
        self._toolbox = toolbox
        self._model = model
        self._vocabulary_size = vocabulary_size
        self._context_length = context_length
        self._max_input_tokens = min(max_input_tokens or context_length - 1, context_length - 1)
        self._longest_token = max(len(vocabulary.raw(id)) for id in range(vocabulary.size))

    def prepare(self, request: Request) -> Prompt | Tokenized:
        """The prompt of a text request, or the tokens of a tokenize request; raises InvalidRequest."""
        match request:
            case TextRequest():
                return self._prompt(request)
            case TokenizeRequest():
                return self._tokens(request)
            case _:
                raise Unsupported(
                    f"model `{self._model}` answers with text only; ask GET /v1/models for one that does this."
                )

    def _prompt(self, request: TextRequest) -> Prompt:
        self._check_ids(request)
        ids, pictures = (list(request.prompt_ids), []) if request.prompt_ids else self._read(request)
        if not ids:
            field = _field(request)
            raise InvalidRequest(f"`{field}` cannot be empty; send at least one token.", param=field)
        limits = request.limits
        if limits.truncate is not None:
            ids, pictures = _cut(ids, pictures, limits.truncate)
        if len(ids) > self._max_input_tokens:
            raise self._too_long(request, len(ids))
        if max(ids) >= self._vocabulary_size:
            raise InvalidRequest(
                "the prompt has a token that the tokenizer knows but the model doesn't; send other text.",
                param=_field(request),
            )
        room = self._context_length - len(ids)
        wanted = room if limits.max_new_tokens is None else limits.max_new_tokens
        if limits.fit:
            wanted = min(wanted, room)
        if wanted < 1:
            raise InvalidRequest("`max_new_tokens` must be at least 1.", param="max_new_tokens")
        if wanted > room:
            raise ContextTooLong(
                f"prompt and answer may have at most {self._context_length} tokens together, but the prompt has "
                f"{len(ids)} and {wanted} new ones are asked for; shorten the prompt or ask for at most {room}.",
                param=_field(request),
                facts={
                    "prompt_tokens": len(ids),
                    "new_tokens": wanted,
                    "context_length": self._context_length,
                },
            )
        positions = None
        if pictures and self._family is not None and self._family.axes > 1:
            positions = self._family.positions(ids, [one.layout for one in pictures])
        return Prompt(request, ids, wanted, pictures=pictures, positions=positions)

    def _read(self, request: TextRequest) -> tuple[list[int], list[Placed]]:
        """The ids of a request's prompt, and the pictures at their places in it."""
        pictures = request.pictures
        ids = self._encode(request, len(pictures))
        if self._placer is None:
            return ids, []
        return self._placer.place(ids, pictures, _field(request))

    def _encode(self, request: TextRequest, pictures: int) -> list[int]:
        if request.messages:
            text = self._render(request.messages, request.tool_use)
        elif self._placer is not None:
            text = self._placer.text_of(request.prompt)
        elif pictures:
            raise Unsupported(f"model `{self._model}` can't see pictures; send text only.", param="prompt")
        else:
            text = "".join(part for part in request.prompt if isinstance(part, str))
        # A token spells a bounded number of bytes, so far too long a text is refused or cut before it is read.
        least = len(text.encode("utf-8", "replace")) // self._longest_token
        truncate = request.limits.truncate
        if least > self._max_input_tokens and (truncate is None or truncate > self._max_input_tokens):
            raise self._too_long(request, least, is_exact=False)
        if truncate is not None and not pictures:
            # Generous, because a tokenizer may shorten texts first (NFKC), and reads a torn word in another way.
            text = text[-CUT_MARGIN * truncate * self._longest_token :]
        encode = self._vocabulary.encode if self._placer is None else self._placer.encode
        return encode(text, add_special_tokens=not request.messages or self._lacks_start(text))

    def _render(self, messages: Sequence[Message], use: ToolUse | None = None) -> str:
        if self._placer is not None:
            messages = self._placer.hide(messages)
            use = use and replace(use, tools=self._placer.hide_tools(use.tools))
        elif any(isinstance(part, Image) for message in messages for part in message.parts):
            raise Unsupported(f"model `{self._model}` can't see pictures; send text only.", param="messages")
        return self._toolbox.render(messages, use)

    def _tokens(self, request: TokenizeRequest) -> Tokenized:
        text = self._render(request.messages) if request.messages else request.prompt
        if self._placer is not None:
            text = self._placer.reveal(text)
        special = request.add_special_tokens and (not request.messages or self._lacks_start(text))
        return Tokenized(self._vocabulary.spans(text, add_special_tokens=special), text)

    def _lacks_start(self, text: str) -> bool:
        """Whether a conversation gets the tokenizer's start token, which templates for text write themselves.

        Those of models that see leave it to the processor, LLaVA's above all: transformers does the same.
        """
        bos = self._vocabulary.bos
        return self._placer is not None and not (bos and text.startswith(bos))

    def _check_ids(self, request: TextRequest) -> None:
        """Ids outside the vocabulary would touch other rows' memory (vLLM PYSEC-2026-4000)."""
        size = self._vocabulary_size
        if any(not 0 <= id < size for id, _ in request.sampling.logit_bias):
            raise InvalidRequest(
                f"`logit_bias` keys must be token ids from 0 to {size - 1}.", param="logit_bias"
            )
        if any(not 0 <= id < size for id in request.prompt_ids):
            raise InvalidRequest(f"`prompt` token ids must be from 0 to {size - 1}.", param="prompt")

    def _too_long(self, request: TextRequest, tokens: int, *, is_exact: bool = True) -> ContextTooLong:
        most, given = self._max_input_tokens, f"{tokens}" if is_exact else f"at least {tokens}"
        return ContextTooLong(
            f"the prompt may have at most {most} tokens for model `{self._model}`, but has {given}; "
            "shorten it, or set `truncate` where the API has it.",
            param=_field(request),
            facts={"prompt_tokens": tokens, "max_prompt_tokens": most} if is_exact else None,
        )


def _cut(ids: list[int], pictures: Sequence[Placed], count: int) -> tuple[list[int], list[Placed]]:
    """What `truncate` leaves of a prompt; raises InvalidRequest where that is nothing."""
    kept, seen = keep_last(ids, pictures, count)
    if not kept:
        raise InvalidRequest(
            f"the picture at the end of the prompt takes {len(pictures[-1].layout.ids)} tokens and is never cut; set "
            "`truncate` to that or more, or leave it out.",
            param="truncate",
        )
    return kept, seen


def _field(request: TextRequest) -> str:
    """Where the prompt stands in the request."""
    return "messages" if request.messages else "prompt"
