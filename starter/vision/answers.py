"""Ways to get answers about pictures: from a training checkpoint, or from an exported model."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from starter.chat.answers import run_all
from starter.chat.chatml import END, IMAGE, PAD, render_prompt
from starter.vision.drawing import INPUT_SIDE

Picture = Image.Image
Question = tuple[Sequence[tuple[str, str]], Sequence[Picture]]
"""Messages so far, and the pictures in the order of their `<image>`."""

Answerer = Callable[[Sequence[Question]], list[str]]
LONGEST_ANSWER = 96


def checkpoint_answerer(folder: Path, batch: int = 32) -> Answerer:
    """Greedy answers of a checkpoint, by transformers."""
    import torch
    from transformers import LlavaForConditionalGeneration

    from starter.vision.model import PATCHES, normalised

    tokeniser = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model: Any = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    end, pad, image = (tokeniser.token_to_id(token) for token in (END, PAD, IMAGE))

    def answer_some(questions: Sequence[Question]) -> list[str]:
        prompts = []
        for messages, _ in questions:
            ids = tokeniser.encode(render_prompt(messages), add_special_tokens=False).ids
            prompts.append(
                [one for token in ids for one in ([token] * PATCHES if token == image else [token])]
            )
        longest = max(map(len, prompts))
        ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        pixels = [resized(picture) for _, pictures in questions for picture in pictures]
        with torch.inference_mode():
            made = model.generate(
                input_ids=ids,
                attention_mask=mask,
                pixel_values=normalised(np.stack(pixels)),
                max_new_tokens=LONGEST_ANSWER,
                do_sample=False,
                eos_token_id=end,
                pad_token_id=pad,
            )
        return [tokeniser.decode([t for t in row[longest:].tolist() if t not in (pad, end)]) for row in made]

    def answer(questions: Sequence[Question]) -> list[str]:
        order = sorted(range(len(questions)), key=lambda number: len(render_prompt(questions[number][0])))
        said: dict[int, str] = {}
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            said.update(zip(chosen, answer_some([questions[number] for number in chosen]), strict=True))
        return [said[number] for number in range(len(questions))]

    return answer


def resized(picture: Picture) -> np.ndarray:
    """A picture as the shipped image processor gives it to the tower, before it is normalised."""
    return np.asarray(picture.convert("RGB").resize((INPUT_SIDE, INPUT_SIDE), Image.Resampling.BICUBIC))


def engine_answerer(folder: Path) -> Answerer:
    """Greedy answers of an exported model by Quintet's own engine, which shares its steps among all conversations."""
    from quintet.core.content import Image as Shown
    from quintet.core.content import Message, Role
    from quintet.core.models import Model
    from quintet.core.requests import Limits, Sampling, TextRequest
    from quintet.engines.text.engine import open_engine

    engine = open_engine(Model(name="starter-vision", task="vision", engine="text", path=str(folder)))

    def parts(text: str, pictures: Sequence[Shown]) -> tuple[str | Shown, ...]:
        """The message with its pictures where their markers are; the template writes the newline behind each."""
        made: list[str | Shown] = []
        left = list(pictures)
        for number, piece in enumerate(text.split(IMAGE)):
            if number:
                made.append(left.pop(0))
                piece = piece.removeprefix("\n")
            if piece:
                made.append(piece)
        return tuple(made)

    def answer(questions: Sequence[Question]) -> list[str]:
        requests = []
        for messages, pictures in questions:
            left = [Shown(data=as_png(picture)) for picture in pictures]
            said = []
            for role, text in messages:
                count = text.count(IMAGE)
                said.append(Message(cast("Role", role), parts(text, left[:count])))
                left = left[count:]
            request = TextRequest(
                model="starter-vision",
                messages=tuple(said),
                sampling=Sampling(temperature=0),
                limits=Limits(max_new_tokens=LONGEST_ANSWER),
            )
            requests.append(request)
        return run_all(engine, requests)

    return answer


def as_png(picture: Picture) -> bytes:
    """The picture as a file."""
    packed = io.BytesIO()
    picture.save(packed, "PNG")
    return packed.getvalue()
