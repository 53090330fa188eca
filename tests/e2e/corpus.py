"""The rows of the corpus of bad bodies that the text routes must refuse (reliability 6.4), as data.

What a row may be answered with is the table's; where the table leaves a choice, ours is fixed here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

CHAT, COMPLETIONS, GENERATE = "/v1/chat/completions", "/v1/completions", "/generate"
ROUTES = (CHAT, COMPLETIONS, GENERATE)
SECRET = "s3cr3t-canary"
"""Stands in every bad body, and may never come back."""
VOCABULARY = 293
TOO_LONG = "context_length_exceeded"
TOOL = {"type": "function", "function": {"name": "f"}}


class Case(NamedTuple):
    """One bad request."""

    row: str
    path: str
    body: Any
    status: int = 400
    code: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.row}-{self.path.strip('/').replace('/', '.')}"


# ------------------------------------------------------------------------------------------------- how bodies look


def sent(path: str, text: str = '"hello s3cr3t-canary"', more: str = "") -> str:
    """A body of this route as it is written: a JSON string as its prompt, and further members."""
    match path:
        case "/v1/chat/completions":
            return f'{{"model":"tiny","messages":[{{"role":"user","content":{text}}}]{more}}}'
        case "/v1/completions":
            return f'{{"model":"tiny","prompt":{text}{more}}}'
        case _:
            return f'{{"inputs":{text}{more}}}'


def number(path: str, written: str) -> str:
    """The same with a temperature that is written so."""
    member = f'"temperature":{written}'
    return sent(path, more=f',"parameters":{{{member}}}' if path == GENERATE else f",{member}")


def fields(
    row: str, path: str, *many: dict[str, Any], status: int = 400, code: str | None = None
) -> list[Case]:
    """Cases of good bodies with these members added or replaced; TGI has them under `parameters`."""
    base = json.loads(sent(path))
    if path == GENERATE:
        return [Case(row, path, {**base, "parameters": each}, status, code) for each in many]
    return [Case(row, path, {**base, "max_tokens": 2, **each}, status, code) for each in many]


def everywhere(row: str, make: Callable[[str], Any], status: int = 400) -> list[Case]:
    return [Case(row, path, make(path), status) for path in ROUTES]


def user(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


# -------------------------------------------------------------------------------------------------------- the rows


def encodings() -> Iterator[Case]:
    for body in (b"", b"hello", b"null", b"[]", b'"x"', b"1", b"{", b'{"a":}'):
        yield from [Case("B-01", path, body) for path in ROUTES]
    for name in ("utf-16", "utf-16-le", "utf-32", "utf-8-sig"):
        yield from [Case("B-02", path, sent(path).encode(name)) for path in ROUTES]
    yield from everywhere("B-02", lambda path: sent(path, '"\xff"').encode("latin-1"))
    yield from everywhere("B-02", lambda path: sent(path, '"a\\u0000b"'))
    yield from everywhere("B-02", lambda path: sent(path, '"a\x00b"'))
    yield from everywhere("B-02", lambda path: sent(path).replace("{", "+AHs-", 1))
    for kind in ("", "text/plain", "application/json; charset=utf-16", "multipart/form-data"):
        for path in ROUTES:
            yield Case("B-12", path, sent(path), 415, "unsupported_media_type", (("content-type", kind),))


def shapes() -> Iterator[Case]:
    keys = ",".join(f'"k{at}":1' for at in range(100_000))
    yield from everywhere("B-15", lambda path: sent(path, "[" * 200_000))
    yield from everywhere("B-15", lambda path: sent(path, "[" * 200_000 + "]" * 200_000))
    yield from everywhere("B-15", lambda path: sent(path, more=',"a":{' + keys + "}"))
    yield from everywhere("B-15", lambda path: number(path, "1" * 4301))
    yield Case("B-15", COMPLETIONS, sent(COMPLETIONS, '"' + "x" * 10 * 2**20 + '"'), 413)
    yield Case("B-15", CHAT, sent(CHAT, '"' + "x" * 10 * 2**20 + '"'), 400, TOO_LONG)
    yield Case("B-15", GENERATE, sent(GENERATE, '"' + "x" * 10 * 2**20 + '"'))
    for written in ("NaN", "Infinity", "-Infinity", "1e999", "-0.0"):
        yield from [Case("B-16", path, number(path, written)) for path in ROUTES]
    yield from everywhere("B-17", lambda path: sent(path, '"a\\ud800"'))
    yield from everywhere("B-17", lambda path: sent(path, more=',"stop":["\\udfff"]'))
    yield Case("B-17", CHAT, sent(CHAT).replace("tiny", "\\ud800"))
    yield Case("B-17", CHAT, sent(CHAT, more=',"tools":[{"function":{"name":"\\ud800"}}]'))
    names = ("api_base", "trust_remote_code", "chat_template", "media_io_kwargs", "guided_decoding_backend")
    for name in (*names, "__proto__"):
        member = f',"{name}":"{SECRET}"'
        yield from [Case("B-18", path, sent(path, more=member)) for path in ROUTES]
    yield Case("B-18", GENERATE, sent(GENERATE, more=f',"{SECRET}":1'))
    yield from everywhere("B-19", lambda path: sent(path, more=',"stream":false,"stream":true'))
    yield Case("B-19", CHAT, sent(CHAT, more=f',"model":"{SECRET}"'))
    for value in ("true", '"7"', "7.5", f'"{SECRET}"', "[7]"):
        for path, name in zip(ROUTES, ("max_tokens", "max_tokens", "max_new_tokens"), strict=True):
            member = f'"{name}":{value}'
            more = f',"parameters":{{{member}}}' if path == GENERATE else f",{member}"
            yield Case("B-20", path, sent(path, more=more))
    yield Case("B-20", CHAT, sent(CHAT, more=',"temperature":true'))


def models() -> Iterator[Case]:
    yield from fields("B-21", CHAT, {"chat_template": SECRET}, {"chat_template": "{{ 7 * 7 }}"})
    for inner in ({"chat_template": SECRET}, {"tokenize": True}, {"add_generation_prompt": False}):
        yield from fields("B-22", CHAT, {"chat_template_kwargs": inner})
    unknown = ("gone", "", "../x", "file:///etc/passwd", "http://127.0.0.1:1/x", SECRET, "x" * 256)
    for path in (CHAT, COMPLETIONS):
        yield from fields(
            "B-23", path, *({"model": name} for name in unknown), status=404, code="model_not_found"
        )
        yield from fields("B-23", path, {"model": "x" * 257}, {"model": SECRET * 800})
    for name in ("gone", SECRET, "x" * 256):
        yield Case("B-23", f"/{name}/generate", sent(GENERATE), 404)
    yield Case("B-23", f"/{'x' * 257}/generate", sent(GENERATE))


def counts() -> Iterator[Case]:
    for path in (CHAT, COMPLETIONS):
        yield from fields("B-24", path, *({"n": n} for n in (0, -1, 9, 129, 10**9)))
        yield from fields("B-25", path, {"max_tokens": 0}, {"max_tokens": -1})
        longer = ({"max_tokens": n} for n in (512, 513, 250_001, 2**63))
        yield from fields("B-25", path, *longer, code=TOO_LONG)
        yield from fields("B-25", path, {"max_tokens": 505, "n": 2}, code=TOO_LONG)
    yield from fields("B-24", COMPLETIONS, {"best_of": 0}, {"n": 2, "best_of": 1}, {"best_of": 3})
    best_of = ({"best_of": n, "do_sample": True} for n in (0, -1, 3, 10**9))
    yield from fields("B-24", GENERATE, *best_of)
    yield from fields("B-25", GENERATE, *({"max_new_tokens": n} for n in (0, -1, 512, 250_001, 2**63)))
    yield from fields("B-25", CHAT, user("one " * 600), code=TOO_LONG)
    yield from fields("B-25", COMPLETIONS, {"prompt": "one " * 600}, {"prompt": [5] * 512}, code=TOO_LONG)
    yield Case("B-25", GENERATE, {"inputs": "one " * 600})
    prompts: list[Any] = [
        ["x"] * 10_000,
        ["x"] * 5,
        [[1]] * 5,
        [],
        [[]],
        [["x"]],
        [[[1]]],
        [1, "x"],
        [""],
        "",
    ]
    prompts += [None, {"a": SECRET}, [-1], [VOCABULARY], [[5], [VOCABULARY]], [2**31], [1.0], [5, True]]
    yield from fields("B-26", COMPLETIONS, *({"prompt": prompt} for prompt in prompts))
    for inputs in ("", None, 5, ["a"], {"a": SECRET}):
        yield Case("B-26", GENERATE, {"inputs": inputs})


def conversations() -> Iterator[Case]:
    text = {"type": "text", "text": SECRET}
    contents: list[Any] = [
        None,
        5,
        {"a": SECRET},
        True,
        [],
        [text] * 65,
        [{"type": "text"}],
        [{"type": SECRET}],
    ]
    for messages in (
        [],
        None,
        SECRET,
        [SECRET],
        [{"role": "user", "content": "x"}] * 100_001,
        [{"role": SECRET, "content": "x"}],
        [{"content": "x"}],
        [{"role": "user"}],
        [{"role": "tool", "content": "x"}],
        [{"role": "assistant", "tool_calls": [TOOL]}],
        *(user(content)["messages"] for content in contents),
    ):
        yield from fields("B-27", CHAT, {"messages": messages})
        status = 413 if isinstance(messages, list) and len(messages) > 100_000 else 400
        yield Case("B-27", "/chat_tokenize", {"messages": messages}, status)
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}
    yield from fields("B-27", CHAT, user([text, picture]))


def biases() -> Iterator[Case]:
    for path in (CHAT, COMPLETIONS):
        ids = ("-1", str(VOCABULARY), str(VOCABULARY + 1), "999999999", "9" * 30, "a", "1.5", SECRET, "")
        yield from fields("B-28", path, *({"logit_bias": {id: 1}} for id in ids))
        yield from fields("B-28", path, {"logit_bias": {str(id): 1 for id in range(10_000)}})
        values = (101, -101, 100.01, "1", None, True, [1])
        yield from fields("B-28", path, *({"logit_bias": {"1": value}} for value in values))
        yield Case("B-28", path, sent(path, more=',"logit_bias":{"1":NaN}'))
        yield from fields("B-28", path, {"logit_bias": [1.0]}, {"logit_bias": SECRET})
        yield from fields("B-28", path, {"bad_words": [SECRET]}, {"stop_token_ids": [10**9]})
    yield Case("B-28", GENERATE, sent(GENERATE, more=',"parameters":{"logit_bias":{"1":1}}'))


def details() -> Iterator[Case]:
    tops = ({"logprobs": True, "top_logprobs": n} for n in (-1, 51, True, "5"))
    yield from fields("B-34", CHAT, *tops, {"top_logprobs": 5})
    heavy = {"logprobs": True, "top_logprobs": 50, "n": 8, "max_tokens": 1000}
    yield from fields("B-34", CHAT, heavy, code="budget_exceeded")
    yield from fields("B-34", COMPLETIONS, {"logprobs": -1}, {"logprobs": 51}, {"logprobs": True})
    yield from fields("B-34", GENERATE, {"top_n_tokens": -1}, {"top_n_tokens": 6})
    yield from fields("B-34", GENERATE, {"top_n_tokens": 5, "max_new_tokens": 50_000})
    for path in ROUTES:
        stops: list[Any] = [list("abcde"), [""], [SECRET * 800], [5], 5, {"a": SECRET}]
        yield from fields("B-35", path, *({"stop": stop} for stop in stops))


def ranges() -> Iterator[Case]:
    for path in (CHAT, COMPLETIONS):
        for name, values in {
            "temperature": (-1, 101, "0", True),
            "top_p": (0, 1.01, -0.5),
            "top_k": (-2, 10**9, 1.5),
            "min_p": (-0.1, 1.1),
            "typical_p": (0, 1.1),
            "repetition_penalty": (0, 6),
            "presence_penalty": (2.01, -2.01),
            "frequency_penalty": (2.01, -2.01),
            "seed": (2**65, -(2**65), 1.0, "1"),
            "stream": ("yes", 1),
            "stream_options": ({"include_usage": True}, SECRET),
        }.items():
            row = "B-37" if name.startswith("stream") else "B-36"
            yield from fields(row, path, *({name: value} for value in values))
    for name, values in {
        "temperature": (0, -1, 101, "0"),
        "top_p": (0, 1, 1.01),
        "top_k": (0, -2, 10**9),
        "typical_p": (0, 1),
        "repetition_penalty": (0, 6),
        "frequency_penalty": (2.01, -2.01),
        "seed": (-1, 2**65),
        "truncate": (0, -1),
    }.items():
        yield from fields("B-36", GENERATE, *({name: value} for value in values))
    yield Case("B-37", GENERATE, sent(GENERATE, more=',"stream":"yes"'))
    for parameters in ({"best_of": 2, "do_sample": True}, {"decoder_input_details": True}):
        yield Case("B-37", "/generate_stream", {"inputs": SECRET, "parameters": parameters})


def sizes() -> Iterator[Case]:
    emoji = json.dumps("\U0001f600" * 2**18, ensure_ascii=False)
    images = json.dumps("<image>" * 10**6)
    for path in ROUTES:
        yield Case("B-38", path, sent(path, emoji), 400)
    yield Case("B-38", GENERATE, sent(GENERATE, images), 400)
    yield Case("B-38", CHAT, sent(CHAT, images), 400)
    for text in (" " * 2**20, "a\u0301" * 2**18, "a" * 2**20):
        for path in ROUTES:
            yield Case("B-39", path, sent(path, json.dumps(text, ensure_ascii=False)), 400)
        yield Case("B-39", "/tokenize", {"inputs": text}, 400)
    schema = {"type": "object", "description": "x" * 2**20}
    for tools in (
        [TOOL] * 129,
        [TOOL],
        [{"type": "function", "function": {"name": "a\nb"}}],
        [{"type": "function", "function": {"name": "f", "parameters": schema}}],
        [{"type": "function", "function": {"name": SECRET * 8}}],
    ):
        yield from fields("B-40", CHAT, {"tools": tools})
    yield from fields("B-40", CHAT, {"functions": [{"name": SECRET}]}, {"tool_choice": "required"})


def all_cases() -> Iterable[Case]:
    for group in (encodings, shapes, models, counts, conversations, biases, details, ranges, sizes):
        yield from group()
