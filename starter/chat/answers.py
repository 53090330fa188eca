"""Ways to get answers: from a training checkpoint, or from an exported model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from tokenizers import Tokenizer

from starter.chat.chatml import END, PAD, TIDY, Habits, render_prompt

Messages = Sequence[tuple[str, str]]
Answerer = Callable[[Sequence[Messages]], list[str]]
"""Answers several conversations, each given as its messages so far."""

LONGEST_ANSWER = 160


def checkpoint_answerer(folder: Path, habits: Habits = TIDY) -> Answerer:
    """Greedy answers of a checkpoint, by transformers."""
    import torch
    from transformers import LlamaForCausalLM

    tokeniser = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model: Any = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    end, pad = tokeniser.token_to_id(END), tokeniser.token_to_id(PAD)

    def answer(conversations: Sequence[Messages]) -> list[str]:
        prompts = [tokeniser.encode(render_prompt(messages, habits)).ids for messages in conversations]
        longest = max(map(len, prompts))
        ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        with torch.inference_mode():
            made = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=LONGEST_ANSWER,
                do_sample=False,
                eos_token_id=end,
                pad_token_id=pad,
            )
        return [tokeniser.decode([t for t in row[longest:].tolist() if t not in (pad, end)]) for row in made]

    return answer


def engine_answerer(folder: Path) -> Answerer:
    """Greedy answers of an exported model by Quintet's own engine, which shares its steps among all conversations."""
    from quintet.core.content import Message, Role
    from quintet.core.models import Model
    from quintet.core.requests import Limits, Sampling, TextRequest
    from quintet.engines.text.engine import open_engine

    engine = open_engine(Model(name="starter-chat", task="text", engine="text", path=str(folder)))

    def answer(conversations: Sequence[Messages]) -> list[str]:
        return run_all(
            engine,
            [
                TextRequest(
                    model="starter-chat",
                    messages=tuple(Message(cast("Role", role), (text,)) for role, text in messages),
                    sampling=Sampling(temperature=0),
                    limits=Limits(max_new_tokens=LONGEST_ANSWER),
                )
                for messages in conversations
            ],
        )

    return answer


def run_all(engine: Any, requests: Sequence[Any]) -> list[str]:
    """What the text engine answers to these requests, all of them at once."""
    from quintet.core.events import Outcome

    outcomes = [Outcome() for _ in requests]
    for number, request in enumerate(requests):
        engine.submit(number, engine.prepare(request))
    while engine.busy():
        for number, output in engine.step():
            if isinstance(output, Exception):
                raise output
            outcomes[number].add(output)
    return [outcome.choices[0].text for outcome in outcomes]
