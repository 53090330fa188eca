"""What a grammar costs: decoding under a JSON schema against free decoding, by the same engine, taking turns."""

from __future__ import annotations

import json
import statistics
import sysconfig
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import shapes
from bench.table import Table
from bench.text_engine import NEW_TOKENS, SAMPLINGS, open_ours, prompts, take_turns
from quintet.core.events import Token
from quintet.core.requests import Grammar, Limits, Sampling, TextRequest
from quintet.engines.text.engine import TextEngine

PEOPLE = {
    "type": "array",
    "minItems": 40,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 24},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "role": {"enum": ["admin", "editor", "reader"]},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 3},
            "active": {"type": "boolean"},
        },
        "required": ["name", "age", "role", "tags", "active"],
        "additionalProperties": False,
    },
}
"""Short fields and much structure."""
# Each asks for more than an answer has room for, so that both sides write as much.
GRAMMARS = {
    "records": Grammar(kind="json_schema", text=json.dumps(PEOPLE)),
    "any JSON": Grammar(kind="json_schema", text=json.dumps({"type": "array", "minItems": 200, "items": {}})),
}


def model() -> Path:
    """The usual shape with a vocabulary of real words, because a grammar looks at how tokens are spelled."""
    target = shapes.FOLDER / "smollm2-135m-words"
    if not (target / "tokenizer.json").is_file():
        source = shapes.smollm2_135m()
        target.mkdir(parents=True, exist_ok=True)
        for file in source.iterdir():
            if not file.name.startswith("tokenizer") and not (target / file.name).exists():
                (target / file.name).hardlink_to(file)
        _train_tokenizer(target / "tokenizer.json")
    return target


def _train_tokenizer(path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=shapes.VOCABULARY,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library = Path(sysconfig.get_path("stdlib"))
    files = sorted(library.glob("**/*.py"))[:1500]
    tokenizer.train_from_iterator((file.read_text("utf-8", "replace") for file in files), trainer)
    tokenizer.save(str(path))


def run(engine: TextEngine, count: int, sampling: Sampling, grammar: Grammar | None) -> float:
    """Answer `count` random prompts; new tokens per second, prefill included."""
    begin = time.perf_counter()
    for id, ids in enumerate(prompts(count)):
        request = TextRequest(
            model="bench",
            prompt_ids=tuple(ids),
            sampling=sampling,
            limits=Limits(max_new_tokens=NEW_TOKENS, ignore_eos=True),
            grammar=grammar,
        )
        engine.submit(id, engine.prepare(request))
    tokens = 0
    while engine.busy():
        for _, output in engine.step():
            if isinstance(output, Exception):
                raise output
            tokens += isinstance(output, Token)
    return tokens / (time.perf_counter() - begin)


def main(rounds: int = 3) -> list[Table]:
    """Throughput with and without a grammar for n = 1, 16, 64."""
    engine = open_ours(model())
    table = Table(
        "grammar",
        "JSON schema against free decoding, 135M shape, a vocabulary of 49,152 real words (new tokens/s, median of "
        "rounds; ratio = median of the rounds' ratios)",
        ("grammar", "sampling", "n", "free", "constrained", "ratio", "asked"),
    )
    for name, grammar in GRAMMARS.items():
        for label, sampling in SAMPLINGS.items():
            for count in (1, 16, 64):
                runs: list[Callable[[], float]] = [
                    partial(run, engine, count, sampling, one) for one in (None, grammar)
                ]
                turns = rounds * (2 if count == 1 else 1)
                free, bound = take_turns(turns, *runs)
                ratio = statistics.median(b / f for f, b in zip(free, bound, strict=True))
                asked = "≥ 0.9" if count == 16 else ""
                table.add(name, label, count, statistics.median(free), statistics.median(bound), ratio, asked)
    engine.close()
    return [table]
