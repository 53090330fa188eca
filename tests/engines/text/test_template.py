"""Chat templates render as in transformers, and a hostile one can neither reach out, nor hang, nor fill the memory."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path

import pytest

from quintet.core.content import Image, Message
from quintet.core.errors import InvalidRequest, LoadFailed
from quintet.engines.text import template
from quintet.engines.text.template import ChatTemplate

HELLO = (Message("system", ("Be kind.",)), Message("user", ("Hello ",)), Message("assistant", ("Hi",)))


def render(source: str, messages: tuple[Message, ...] = HELLO, **special: str) -> str:
    return ChatTemplate(source, **special).render(messages)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''['__class__']['__mro__'] }}",
        "{{ ''|attr('__class__') }}",
        "{{ messages.__class__.__base__.__subclasses__()[0] }}",
        "{{ lipsum.__globals__['os'].popen('id').read() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ joiner.__init__.__globals__.os }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__globals__.sys }}",
        "{{ raise_exception.__code__.co_consts }}",
        "{{ self.__init__.__globals__ }}",
        "{{ self._TemplateReference__context.environment }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{{ '{0.__class__}'.format_map({'0': messages}) }}",
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}{{ ns.__class__.__mro__ }}",
        "{{ messages|map(attribute='__class__')|list|first }}{{ messages[0].__class__.__mro__ }}",
        "{{ messages.append(messages) }}{{ messages[0].clear() }}",
        "{% include '/etc/passwd' %}",
        "{% import '/etc/passwd' as stolen %}{{ stolen }}",
        "{% extends '/etc/passwd' %}",
    ],
)
def test_the_sandbox_holds(source: str) -> None:
    try:
        text = render(source)
    except (InvalidRequest, LoadFailed) as refusal:
        text = refusal.message
        assert "chat template" in text
    else:
        # To name what is forbidden gives an undefined value, which prints nothing; to use it is refused.
        assert text == ""
    assert "passwd" not in text
    assert "Hello" not in text


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ '' }}{% endfor %}{% endfor %}",
        "{% macro spin() %}{% for a in range(99999) %}{% endfor %}{% endmacro %}"
        "{% for a in range(99999) %}{{ spin() }}{% endfor %}",
        "{% for a in range(9999) %}{% set b = range(99999)|map('string')|list|length %}{% endfor %}",
    ],
)
def test_an_endless_template_is_stopped(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert template.MAX_SECONDS == 2
    monkeypatch.setattr(template, "MAX_SECONDS", 0.5)
    begun = time.monotonic()
    with pytest.raises(InvalidRequest, match=r"over 0\.5 s"):
        render(source)
    assert time.monotonic() - begun < 1.5


def test_a_conversation_too_long_to_render_is_too_long_for_the_context():
    with pytest.raises(InvalidRequest, match="over 1 MiB") as raised:
        render("{{ messages[0].content }}", (Message("user", ("x" * (2**20 + 1),)),))
    assert raised.value.code == "context_length_exceeded"


LARGE = "{% set x = 'xxxxxxxxxxxxxxxx' * 65536 %}"  # 1 MiB, which is allowed


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 1073741824 }}",
        "{{ 1073741824 * 'x' }}",
        "{% set x = [messages] * 1073741824 %}",
        "{% for a in range(1024) %}{{ 'x' * 1048576 }}{% endfor %}",
        LARGE + "{% for a in range(1024) %}{{ x }}{% endfor %}",
        "{% set n = namespace(x='xxxx') %}{% for a in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "{% set n = namespace(x='xxxx') %}{% for a in range(40) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "{% set n = namespace(x=[1]) %}{% for a in range(40) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "{% set n = namespace(x=[1]) %}{% for a in range(40) %}{% set n.x = [n.x, n.x]|sum(start=[]) %}{% endfor %}",
        "{% set n = namespace(x=9) %}{% for a in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}",
        "{% set x = 9 ** 9 ** 9 %}",
        "{% set x = 'x'.center(1073741824) %}",
        "{% set x = 'x'.ljust(1073741824) %}",
        "{% set x = 'x'.zfill(1073741824) %}",
        "{% set x = '\t'.expandtabs(1073741824) %}",
        "{% set x = '{:1073741824}'.format(1) %}",
        "{% set x = '%1073741824d' % 1 %}",
        "{% set x = 'x'|center(1073741824) %}",
        "{% set x = '%1073741824d'|format(1) %}",
        LARGE + "{% set y = x.replace('x', x) %}",
        LARGE + "{% set y = x|replace('x', x) %}",
        LARGE + "{% set y = x.join(x) %}",
        LARGE + "{% set y = x|join(x) %}",
        LARGE + "{% set y = [x] * 1024 %}{% set z = y|join %}",
        LARGE + "{% set y = [x] * 1024 %}{% set z = y|tojson %}",
        LARGE + "{% set y = [x] * 1024 %}{{ y }}",
        "{% set n = namespace(x=[1]) %}{% for a in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
        "{% set n = namespace(x=[1]) %}{% for a in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x ~ 1 }}",
        "{% set n = namespace(x=[1]) %}{% for a in range(99) %}{% set n.x = {1: n.x, 2: n.x} %}{% endfor %}"
        "{{ n.x|string }}",
    ],
)
def test_a_huge_value_is_refused(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "MAX_SECONDS", 0.5)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.monotonic()
    with pytest.raises((InvalidRequest, LoadFailed)):
        render(source)
    assert time.monotonic() - begun < 1.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024


def test_deep_recursion_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        render("{% macro deeper() %}{{ deeper() }}{% endmacro %}{{ deeper() }}")


def test_rendering_leaves_no_trace_function() -> None:
    import sys

    before = sys.gettrace()
    render("{{ messages }}")
    with pytest.raises(InvalidRequest):
        render("{{ undefined.thing }}")
    assert sys.gettrace() is before


def test_the_templates_own_refusal() -> None:
    source = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('No system role, please.') }}{% endif %}"
    )
    with pytest.raises(InvalidRequest, match=r"No system role, please\.") as refusal:
        render(source)
    assert refusal.value.param == "messages"
    with pytest.raises(InvalidRequest) as long:
        render("{{ raise_exception('x' * 10000) }}")
    assert len(long.value.message) < 300


def test_broken_jinja_is_a_load_failure() -> None:
    with pytest.raises(LoadFailed, match=r"chat_template\.jinja"):
        ChatTemplate("{% for %}")


def test_marks_of_what_is_trained_are_no_obstacle() -> None:
    source = (
        "{% for message in messages %}{% if message.role == 'assistant' %}\n    {% generation %}\n"
        "    {%- set inside = 1 %}{{ message.content }}{% endgeneration %}\n{% endif %}{% endfor %}{{ inside }}."
    )
    assert render(source) == "Hi."


def test_pictures_come_as_a_list() -> None:
    messages = (Message("user", ("look: ", Image(data=b"x"), "well?")), Message("assistant", ("yes",)))
    source = (
        "{% for m in messages %}{% if m.content is string %}({{ m.content }}){% else %}{% for part in m.content %}"
        "{% if part.type == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}{% endfor %}"
    )
    assert render(source, messages) == "look: <image>well?(yes)"


def test_tojson_keeps_unicode_and_markup() -> None:
    said = (Message("user", ("<é> & \"'",)),)
    assert render("{{ messages | tojson }}", said) == json.dumps(
        [{"role": "user", "content": "<é> & \"'"}], ensure_ascii=False
    )
    assert render("{{ {'a': [1]} | tojson(indent=4) }}") == json.dumps({"a": [1]}, indent=4)
    assert render("{{ missing | tojson }}") == "null"


LLAMA = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}{%- set date_string = strftime_now("%Y") %}{%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start|>system<|end|>\\n\\nToday: " + date_string + "\\n\\n" + system_message + "<|eot|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or 'tool_calls' in message) %}
        {{- '<|start|>' + message['role'] + '<|end|>\\n\\n'+ message['content'] | trim + '<|eot|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant<|end|>\\n\\n' }}
{%- endif %}
"""
LAST_QUESTION = """{% set ns = namespace(last=-1) %}
{% for message in messages[::-1] %}
  {% set index = (messages|length - 1) - loop.index0 %}
  {% if message.role == "user" and not message.content.startswith('<tool>') %}
    {% set ns.last = index %}
    {% break %}
  {% endif %}
{% endfor %}
{% for message in messages %}
{% if message.role == "system" %}{% continue %}{% endif %}
{{ loop.index0 }}{{ "*" if loop.index0 == ns.last }} {{ (message.content ~ "|").split("|")[0]|upper|replace("H", "J") }}
{% endfor %}
{% generation %}{% endgeneration %}"""


def test_templates_of_common_shape() -> None:
    from datetime import datetime

    year = datetime.now().strftime("%Y")
    assert render(LLAMA, bos="<bos>") == (
        f"<bos><|start|>system<|end|>\n\nToday: {year}\n\nBe kind.<|eot|><|start|>user<|end|>\n\nHello<|eot|>"
        "<|start|>assistant<|end|>\n\nHi<|eot|><|start|>assistant<|end|>\n\n"
    )
    source = LAST_QUESTION.replace("{% generation %}{% endgeneration %}", "")
    assert render(source) == "1* JELLO \n2 JI\n"


def test_templates_render_as_in_transformers() -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    shown = [{"role": message.role, "content": message.text} for message in HELLO]
    for source in (LLAMA, LAST_QUESTION):
        source = source.replace("{% generation %}{% endgeneration %}", "")
        expected, _ = render_jinja_template(
            [shown], chat_template=source, bos_token="B", add_generation_prompt=True
        )
        assert render(source, bos="B") == expected[0]


def test_where_a_directory_keeps_its_template(tmp_path: Path) -> None:
    chatml = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHello <|im_end|>\n"

    def rendered(config: dict[str, object]) -> str:
        return ChatTemplate.of_directory(tmp_path, config).render(HELLO)

    assert rendered({}).startswith(chatml)
    assert rendered({}).endswith("<|im_start|>assistant\n")
    listed = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "listed"}]
    assert rendered({"chat_template": listed}) == "listed"
    special = {"bos_token": {"content": "<b>"}, "eos_token": "</s>"}
    assert rendered({"chat_template": "{{ bos_token }}{{ eos_token }}", **special}) == "<b></s>"
    # A processor's template knows pictures; that of the tokenizer beside it is often the text model's.
    for name in ("processor_config.json", "chat_template.json"):
        (tmp_path / name).write_text(json.dumps({"chat_template": name}))
        assert rendered({"chat_template": "config"}) == name
    (tmp_path / "chat_template.jinja").write_text("file")
    assert rendered({"chat_template": "config"}) == "file"
