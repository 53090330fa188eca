"""Pictures in prompts: our engine against OpenVINO GenAI, each in a process of its own, taking turns."""

from __future__ import annotations

import os
import statistics
import string
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from bench.contestant import Contestant
from bench.table import Table
from bench.text_engine import GREEDY, take_turns
from bench.vision_shapes import PICTURE_TOKENS, Pixels, as_file, draw, smolvlm_256m
from quintet.core.content import Image, Part
from quintet.core.events import Finished, Token
from quintet.core.models import Model
from quintet.core.requests import Limits, TextRequest
from quintet.engines.text.engine import TextEngine, open_engine

TEXT_TOKENS = 64
NEW_TOKENS = 64
PROMPT_TOKENS = PICTURE_TOKENS + 1 + TEXT_TOKENS
"""GenAI writes a line break behind a picture, so we do, too."""
PART = "bench.vision"


@dataclass
class Taken:
    """What a round took, in seconds. GenAI does not tell reading from writing."""

    whole: float = 0.0
    cpu: float = 0.0
    """Of all threads of the process."""
    encoder: float = 0.0
    """Everything from a picture to its rows."""
    prefill: float = 0.0
    """Passes of the language model that read a prompt, maybe beside others that write."""
    decode: float = 0.0
    """Passes that only write."""
    first_token: float = 0.0
    """Median over the requests."""
    prompt_tokens: int = 0
    tokens: int = 0

    def check(self, count: int) -> None:
        """Raise RuntimeError unless `count` requests were answered in full."""
        if (self.prompt_tokens, self.tokens) != (count * PROMPT_TOKENS, count * NEW_TOKENS):
            raise RuntimeError(
                f"{self.prompt_tokens} tokens read and {self.tokens} written for {count} requests"
            )


@dataclass
class Watch:
    """Adds up how long calls take, by a name that is found when they are made."""

    seconds: dict[str, float] = field(default_factory=dict)

    def over(self, call: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
        """The same call, timed."""

        def timed(*arguments: Any, **named: Any) -> Any:
            begin = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                key = name(*arguments)
                self.seconds[key] = self.seconds.get(key, 0.0) + time.perf_counter() - begin

        return timed


def words(random: np.random.Generator, count: int = TEXT_TOKENS) -> str:
    """Random text of so many tokens: the benchmark's tokenizer has one for each letter."""
    return "".join(random.choice(list(string.ascii_letters + " "), count))


def ask(parts: tuple[Part, ...]) -> TextRequest:
    """A greedy request for all of its tokens."""
    limits = Limits(max_new_tokens=NEW_TOKENS, ignore_eos=True)
    return TextRequest(model="bench", prompt=parts, sampling=GREEDY, limits=limits)


def open_ours() -> TextEngine:
    """Our engine with its default settings."""
    path = str(smolvlm_256m())
    return open_engine(Model(name="bench", task="vision", engine="text", path=path, context_length=8192))


def watch(engine: TextEngine) -> Watch:
    """Have the encoder's turns and the language model's passes timed from now on."""
    found = Watch()
    sight, executor = engine.sight, engine.executor
    assert sight is not None
    sight.look = found.over(sight.look, lambda *_: "encoder")  # type: ignore[method-assign]
    executor.run = found.over(  # type: ignore[method-assign]
        executor.run, lambda chunks: "prefill" if any(len(one.ids) > 1 for one in chunks) else "decode"
    )
    return found


def run_ours(engine: TextEngine, watched: Watch, pictures: list[Pixels], texts: list[str]) -> Taken:
    """One request per picture, all at once. The files are made beforehand, as the gateway makes them."""
    files = [as_file(picture, "PNG") for picture in pictures]
    watched.seconds.clear()
    taken, first = Taken(), dict[int, float]()
    begin, cpu = time.perf_counter(), _cpu_seconds()
    for id, (file, text) in enumerate(zip(files, texts, strict=True)):
        engine.submit(id, engine.prepare(ask((Image(data=file), "\n" + text))))
    while engine.busy():
        for id, output in engine.step():
            if isinstance(output, Exception):
                raise output
            if isinstance(output, Token):
                first.setdefault(id, time.perf_counter() - begin)
                taken.tokens += 1
            elif isinstance(output, Finished):
                taken.prompt_tokens += output.usage.prompt_tokens
    taken.whole, taken.cpu = time.perf_counter() - begin, _cpu_seconds() - cpu
    taken.encoder, taken.prefill, taken.decode = (
        watched.seconds.get(name, 0.0) for name in ("encoder", "prefill", "decode")
    )
    taken.first_token = statistics.median(first.values())
    return taken


def open_genai() -> tuple[Any, Any]:
    """GenAI's pipeline for one request at a time, and that for several, with a cache that holds everything.

    The first has its defaults. The second reads whole prompts at once, as the first does by default; its own default
    of 256 tokens a step was no faster.
    """
    import openvino_genai

    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = 2
    scheduler.max_num_batched_tokens = 16384
    path = str(smolvlm_256m())
    one = openvino_genai.VLMPipeline(path, "CPU")
    return one, openvino_genai.ContinuousBatchingPipeline(path, scheduler, "CPU")


def run_genai(pipelines: tuple[Any, Any], pictures: list[Pixels], texts: list[str]) -> Taken:
    """The same work in GenAI. The tensors are made beforehand."""
    import openvino
    import openvino_genai

    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = NEW_TOKENS
    config.ignore_eos = True
    config.do_sample = False
    config.apply_chat_template = False
    config.eos_token_id, config.stop_token_ids = 0, {0}
    images = [[openvino.Tensor(picture[None])] for picture in pictures]
    begin, cpu = time.perf_counter(), _cpu_seconds()
    if len(texts) == 1:
        results = [pipelines[0].generate(texts[0], images=images[0], generation_config=config)]
    else:
        results = pipelines[1].generate(texts, images=images, generation_config=[config] * len(texts))
    taken = Taken(whole=time.perf_counter() - begin, cpu=_cpu_seconds() - cpu)
    told = [result.perf_metrics for result in results]
    taken.encoder = sum(one.get_vision_encoding_duration().mean for one in told) / 1000
    taken.first_token = statistics.median(one.get_ttft().mean for one in told) / 1000
    taken.prompt_tokens = sum(one.get_num_input_tokens() for one in told)
    # Of one request it counts itself, of several it tells the sum with each.
    counts = [one.get_num_generated_tokens() for one in told]
    taken.tokens = counts[0] if len(set(counts)) == 1 else sum(counts)
    return taken


def open_contestant(name: str) -> Callable[..., Any]:
    """For "ours" and "genai": how many pictures → Taken. For "again": `ask_again`, how many rounds."""
    random = np.random.default_rng()
    if name == "again":
        return partial(ask_again, open_ours(), random)
    if name == "ours":
        engine = open_ours()
        run: Callable[[list[Pixels], list[str]], Taken] = partial(run_ours, engine, watch(engine))
    else:
        run = partial(run_genai, open_genai())

    def answer(count: int) -> dict[str, Any]:
        taken = run([draw(random) for _ in range(count)], [words(random) for _ in range(count)])
        taken.check(count)
        return asdict(taken)

    answer(1)
    return answer


def ask_again(engine: TextEngine, random: np.random.Generator, rounds: int) -> list[list[list[float]]]:
    """A picture asked about for the first time, then in another question, then in a second turn of the first one.

    Of each: seconds to the first token and to the last, pictures encoded, tokens of the prompt, those from the cache.
    """
    found = []
    for _ in range(rounds):
        picture = Image(data=as_file(draw(random), "PNG"))
        begun, other, answer, more = (words(random) for _ in range(4))
        questions = ((picture, begun), (picture, other), (picture, begun, answer, more))
        found.append([_ask_one(engine, parts) for parts in questions])
    return found


def _ask_one(engine: TextEngine, parts: tuple[Part, ...]) -> list[float]:
    assert engine.sight is not None
    encoded, begin, first = engine.sight.encoded, time.perf_counter(), 0.0
    prompt = cached = 0
    engine.submit(0, engine.prepare(ask(parts)))
    while engine.busy():
        for _, output in engine.step():
            if isinstance(output, Exception):
                raise output
            first = first or time.perf_counter() - begin
            if isinstance(output, Finished):
                prompt, cached = output.usage.prompt_tokens, output.usage.cached_tokens
    return [first, time.perf_counter() - begin, engine.sight.encoded - encoded, prompt, cached]


def main(rounds: int = 3) -> list[Table]:
    """Throughput for n = 1 and 8, where the time goes, and the second question."""
    table = Table(
        "vision",
        f"One picture of 512 pixels ({PICTURE_TOKENS} tokens) and {TEXT_TOKENS} tokens of text, {NEW_TOKENS} new "
        "tokens, greedy, every picture another (new tokens/s, median of rounds; ratio = median of the rounds' ratios)",
        ("n", "ours", "GenAI", "ratio", "asked"),
    )
    split = Table(
        "vision-split",
        "The same: where the time goes (s, median of rounds)",
        ("n", "whose", "encoder", "prefill", "decode", "first token", "whole", "CPU"),
    )
    ours, genai = Contestant("ours", PART), Contestant("genai", PART)
    for count, turns in ((1, rounds * 2), (8, rounds)):
        found: list[list[Any]] = take_turns(turns, partial(ours.run, count), partial(genai.run, count))
        mine, theirs = ([Taken(**one) for one in side] for side in found)
        ratio = statistics.median(b.whole / a.whole for a, b in zip(mine, theirs, strict=True))
        speeds = [statistics.median(one.tokens / one.whole for one in side) for side in (mine, theirs)]
        table.add(count, *speeds, ratio, "≥ 0.95")
        for whose, side in (("ours", mine), ("GenAI", theirs)):
            _add_split(split, count, whose, side)
    ours.close()
    genai.close()
    return [table, split, again(rounds)]


def again(rounds: int) -> Table:
    """What a second question about a picture costs."""
    table = Table(
        "vision-again",
        "Asking again about a picture, nothing else running (s, median of rounds)",
        ("request", "pictures encoded", "prompt tokens", "of these from the cache", "first token", "whole"),
    )
    contestant = Contestant("again", PART)
    contestant.run(1)
    figures = np.median(np.array(contestant.run(rounds)), axis=0)
    contestant.close()
    labels = ("first question", "another question about the same picture", "second turn of the first one")
    for label, (first, whole, encoded, prompt, cached) in zip(labels, figures.tolist(), strict=True):
        table.add(label, int(encoded), int(prompt), int(cached), first, whole)
    return table


def _add_split(table: Table, count: int, whose: str, side: list[Taken]) -> None:
    def median(name: str) -> float:
        return float(statistics.median(getattr(one, name) for one in side))

    passes = (median("prefill"), median("decode")) if whose == "ours" else ("", "")
    table.add(count, whose, median("encoder"), *passes, median("first_token"), median("whole"), median("cpu"))


def _cpu_seconds() -> float:
    return sum(os.times()[:2])
