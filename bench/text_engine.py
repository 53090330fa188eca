"""Our text engine against OpenVINO GenAI's continuous batching, each in a process of its own, taking turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench import shapes
from bench.contestant import Contestant
from bench.table import Table
from quintet.core.events import Token
from quintet.core.models import Model
from quintet.core.requests import Limits, Sampling, TextRequest
from quintet.engines.text.engine import TextEngine, open_engine

PROMPT_TOKENS = 64
NEW_TOKENS = 128
SAMPLED = Sampling(temperature=0.8, top_k=50, top_p=0.9, repetition_penalty=1.1)
GREEDY = Sampling(temperature=0)
SAMPLINGS = {"greedy": GREEDY, "temperature 0.8, top_k 50, top_p 0.9, penalty 1.1": SAMPLED}


def prompts(count: int, length: int = PROMPT_TOKENS) -> list[list[int]]:
    """Random prompts, new ones each time, so that no prefix is reused."""
    rows: list[list[int]] = np.random.default_rng().integers(1, shapes.VOCABULARY, (count, length)).tolist()
    return rows


def open_ours(directory: Path, **options: Any) -> TextEngine:
    """Our engine with its default settings."""
    model = Model(
        name="bench", task="text", engine="text", path=str(directory), context_length=8192, options=options
    )
    return open_engine(model)


@dataclass
class Clock:
    """Seconds spent in sampling and in whole steps."""

    sampling: float = 0.0
    steps: float = 0.0


def run_ours(
    engine: TextEngine, asked: list[list[int]], sampling: Sampling, clock: Clock | None = None
) -> float:
    """Answer all prompts; new tokens per second, prefill included."""
    begin = time.perf_counter()
    for id, ids in enumerate(asked):
        request = TextRequest(
            model="bench",
            prompt_ids=tuple(ids),
            sampling=sampling,
            limits=Limits(max_new_tokens=NEW_TOKENS, ignore_eos=True),
        )
        engine.submit(id, engine.prepare(request))
    tokens = 0
    while engine.busy():
        before = time.perf_counter()
        tokens += sum(isinstance(event, Token) for _, event in engine.step())
        if clock is not None:
            clock.steps += time.perf_counter() - before
    return tokens / (time.perf_counter() - begin)


def open_genai(directory: Path) -> Any:
    """OpenVINO GenAI's pipeline with its default scheduler and a cache that holds everything."""
    import openvino_genai

    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = 2
    return openvino_genai.ContinuousBatchingPipeline(str(directory), scheduler, "CPU")


def run_genai(pipeline: Any, asked: list[list[int]], sampling: Sampling) -> float:
    """The same work in GenAI; new tokens per second, prefill included."""
    import openvino
    import openvino_genai

    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = NEW_TOKENS
    config.ignore_eos = True
    config.eos_token_id, config.stop_token_ids = 0, {0}
    config.do_sample = sampling.temperature > 0
    if config.do_sample:
        config.temperature, config.top_k, config.top_p = sampling.temperature, sampling.top_k, sampling.top_p
        config.repetition_penalty = sampling.repetition_penalty
    inputs = [openvino.Tensor(np.array([ids], np.int64)) for ids in asked]
    begin = time.perf_counter()
    results = pipeline.generate(inputs, [config] * len(asked))
    tokens = sum(len(result.m_generation_ids[0]) for result in results)
    return tokens / (time.perf_counter() - begin)


def open_contestant(name: str) -> Callable[[int, str], float]:
    """The engine "ours" or "genai", loaded and run once: how many random prompts, and a name of SAMPLINGS."""
    directory = shapes.smollm2_135m()
    ours = partial(run_ours, open_ours(directory)) if name == "ours" else None
    run = ours or partial(run_genai, open_genai(directory))

    def answer(count: int, sampling: str) -> float:
        return run(prompts(count), SAMPLINGS[sampling])

    answer(1, "greedy")
    return answer


def take_turns(rounds: int, *runs: Callable[[], float]) -> list[list[float]]:
    """Run the contestants alternately, so that the machine's moods hit all of them alike."""
    measured: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, values in zip(runs, measured, strict=True):
            values.append(run())
    return measured


def main(rounds: int = 3) -> list[Table]:
    """Throughput for n = 1, 16, 64, greedy and sampled; the share of sampling in a step."""
    table = Table(
        "engine",
        "Text engine in process against OpenVINO GenAI in process (new tokens/s, median of rounds; ratio = median "
        "of the rounds' ratios)",
        ("sampling", "n", "ours", "GenAI", "ratio", "asked"),
    )
    ours, genai = Contestant("ours"), Contestant("genai")
    for label in SAMPLINGS:
        for count in (1, 16, 64):
            turns = rounds * (2 if count == 1 else 1)
            mine, theirs = take_turns(
                turns, partial(ours.run, count, label), partial(genai.run, count, label)
            )
            ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
            table.add(label, count, statistics.median(mine), statistics.median(theirs), ratio, "≥ 1.0")
    ours.close()
    genai.close()
    engine = open_ours(shapes.smollm2_135m())
    return [table, sampling_share(engine), shared_prefix(engine)]


def sampling_share(engine: TextEngine) -> Table:
    """How much of a step is choosing tokens, at n = 64."""
    table = Table("sampling", "Share of sampling in a step, n = 64", ("sampling", "share", "asked"))
    sampler = engine._sampler
    choose = sampler.choose
    for label, sampling in (
        ("greedy", GREEDY),
        ("temperature 0.8, top_k 50, top_p 0.9, penalty 1.1", SAMPLED),
    ):
        clock = Clock()

        def timed(logits: Any, wants: Any, clock: Clock = clock) -> Any:
            begin = time.perf_counter()
            drawn = choose(logits, wants)
            clock.sampling += time.perf_counter() - begin
            return drawn

        sampler.choose = timed  # type: ignore[method-assign]
        run_ours(engine, prompts(64), sampling, clock)
        table.add(label, f"{clock.sampling / clock.steps:.1%}", "≤ 15 %")
    sampler.choose = choose  # type: ignore[method-assign]
    return table


def shared_prefix(engine: TextEngine) -> Table:
    """64 requests that share a 512-token system prompt and arrive together."""
    system = prompts(1, 512)[0]
    before = engine.scheduler.prefilled_tokens
    run_ours(engine, [system + tail for tail in prompts(64, 16)], GREEDY)
    read = engine.scheduler.prefilled_tokens - before
    table = Table(
        "prefix",
        "64 requests with a shared 512-token system prompt and 16 tokens of their own, all at once",
        ("prompt tokens sent", "prompt tokens read by the model", "if the prefix is read once"),
    )
    table.add(64 * 528, read, 512 + 64 * 16)
    return table
