"""What `response_format` and `grammar` mean in the words of the house, and what is refused before an engine sees it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quintet.core.errors import InvalidRequest
from quintet.core.requests import Grammar, TextRequest
from tests.dialects.wire import ask

CHAT, COMPLETIONS, GENERATE = "/v1/chat/completions", "/v1/completions", "/generate"
SECRET = "s3cr3t-canary"
SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}}
TEXT = '{"type":"object","properties":{"b":{"type":"string"},"a":{"type":"integer"}}}'


def body_of(path: str, shape: Any) -> dict[str, Any]:
    if path == GENERATE:
        return {"inputs": "Hi", "parameters": {"grammar": shape}}
    if path == CHAT:
        return {"messages": [{"role": "user", "content": "Hi"}], "response_format": shape}
    return {"prompt": "Hi", "response_format": shape}


def grammar(path: str, shape: Any) -> Grammar | None:
    (request,) = ask(path, body_of(path, shape)).requests
    assert isinstance(request, TextRequest)
    return request.grammar


def refusal(path: str, shape: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        ask(path, body_of(path, shape))
    assert SECRET not in caught.value.message
    assert caught.value.message.startswith(f"`{caught.value.param}`")
    return caught.value


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, Grammar(kind="json_object")),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}},
            Grammar(kind="json_schema", text=TEXT),
        ),
        (
            {"type": "json_schema", "json_schema": {"schema": SCHEMA, "name": None, "description": None}},
            Grammar(kind="json_schema", text=TEXT),
        ),
        # What huggingface_hub's older releases and TGI's own clients send to chat routes.
        ({"type": "json", "value": SCHEMA}, Grammar(kind="json_schema", text=TEXT)),
        ({"type": "regex", "value": "a+"}, Grammar(kind="regex", text="a+")),
    ],
)
def test_response_format(path: str, shape: Any, expected: Grammar | None) -> None:
    assert grammar(path, shape) == expected


@pytest.mark.parametrize(
    ("shape", "kind", "text"),
    [
        ({"type": "json", "value": SCHEMA}, "json_schema", TEXT),
        ({"type": "json", "value": json.dumps(SCHEMA)}, "json_schema", TEXT),
        ({"type": "json_object", "value": SCHEMA}, "json_schema", TEXT),
        ({"type": "json_object"}, "json_object", ""),
        ({"type": "json_schema", "value": SCHEMA}, "json_schema", TEXT),
        ({"type": "json_schema", "value": {"name": "n", "schema": SCHEMA}}, "json_schema", TEXT),
        ({"type": "regex", "value": r"\d{3}"}, "regex", r"\d{3}"),
    ],
)
def test_grammar_of_tgi(shape: Any, kind: Any, text: str) -> None:
    assert grammar(GENERATE, shape) == Grammar(kind=kind, text=text, param="grammar")


def test_the_order_of_properties_is_kept() -> None:
    made = grammar(CHAT, {"type": "json", "value": {"properties": {name: {} for name in "zyxab"}}})
    assert made is not None
    assert list(json.loads(made.text)["properties"]) == list("zyxab")


DEEP: Any = {"type": "string"}
for _ in range(40):
    DEEP = {"type": "array", "items": DEEP}
BAD_SCHEMAS = [
    None,
    {},
    "",
    "{}",
    "null",
    "[]",
    5,
    True,
    [],
    [SCHEMA],
    SECRET,
    '{"type": "object"',
    '{"a": 1, "a": 2}',
    '{"a": NaN}',
    json.dumps(DEEP),
    "[" * 100_000,
    "\ud800",
    {"$ref": f"http://example.com/{SECRET}.json"},
    {"$ref": "file:///etc/passwd"},
    {"properties": {"a": {"anyOf": [{"$ref": "other.json#/a"}]}}},
    {"$dynamicRef": "https://example.com"},
    {"description": "x" * 65_536},
    json.dumps({"enum": [f"{i}" for i in range(1_000_000)]}),
]


@pytest.mark.parametrize("schema", BAD_SCHEMAS, ids=lambda schema: str(schema)[:20])
def test_bad_schemas(schema: Any) -> None:
    assert refusal(GENERATE, {"type": "json", "value": schema}).param == "grammar.value"
    assert refusal(CHAT, {"type": "json", "value": schema}).param == "response_format.value"
    if isinstance(schema, dict | None):
        shape = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        assert refusal(CHAT, shape).param == "response_format.json_schema.schema"


@pytest.mark.parametrize("regex", [None, "", 5, ["a"], {}, "a" * 4097, "a\\", "\\\\\\"])
def test_bad_expressions(regex: Any) -> None:
    assert refusal(GENERATE, {"type": "regex", "value": regex}).param == "grammar.value"
    assert refusal(COMPLETIONS, {"type": "regex", "value": regex}).param == "response_format.value"


@pytest.mark.parametrize(
    ("shape", "param"),
    [
        ({"type": SECRET}, ".type"),
        ({"type": "grammar", "value": "root ::= root"}, ".type"),
        ({"type": "structural_tag"}, ".type"),
        ({"type": 5}, ".type"),
        ({"value": SCHEMA}, ".type"),
        (SECRET, ""),
        ([], ""),
    ],
)
def test_bad_forms(shape: Any, param: str) -> None:
    assert refusal(GENERATE, shape).param in (f"grammar{param}", f"parameters.grammar{param}")
    assert refusal(CHAT, shape).param == f"response_format{param}"


def test_bad_frames() -> None:
    assert refusal(CHAT, {"type": "json_schema"}).param == "response_format.json_schema.schema"
    assert (
        refusal(CHAT, {"type": "json_schema", "json_schema": SECRET}).param == "response_format.json_schema"
    )
    named = {"type": "json_schema", "json_schema": {"name": "n", "schema": SECRET}}
    assert refusal(CHAT, named).param == "response_format.json_schema.schema"


def test_limits_are_exact() -> None:
    schema = {"description": ""}
    schema["description"] = "x" * (65_536 - len(json.dumps(schema, separators=(",", ":"))))
    assert grammar(CHAT, {"type": "json", "value": schema}) is not None
    assert grammar(CHAT, {"type": "regex", "value": "a" * 4096}) is not None


def test_data_is_no_reference() -> None:
    assert grammar(CHAT, {"type": "json", "value": {"const": {"$ref": "http://example.com"}}}) is not None
    assert grammar(CHAT, {"type": "json", "value": {"properties": {"$ref": {"type": "string"}}}}) is not None
