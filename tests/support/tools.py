"""Some tools, a talk about them, and short chat templates that treat them in the manner of the real ones."""

import json

from quintet.core.content import Message, ToolCall
from quintet.core.requests import Tool

SWITCH = Tool(
    name="switch",
    description="Turn a lamp on or off.",
    parameters=json.dumps(
        {
            "type": "object",
            "properties": {"lamp": {"enum": ["red", "blue"]}, "on": {"type": "boolean"}},
            "required": ["lamp", "on"],
            "additionalProperties": False,
        }
    ),
)
NOW = Tool(name="now")
TOOLS = (SWITCH, NOW)
ON = '{"lamp": "red", "on": true}'
ASKED = (Message("user", ("Red on!",)),)
TALK = (
    *ASKED,
    Message("assistant", ("",), tool_calls=(ToolCall("call_abc", "switch", ON),)),
    Message("tool", ("done",), tool_call_id="call_abc", name="switch"),
    Message("assistant", ("It is on.",)),
    Message("user", ("Thanks.",)),
)
QWEN = (
    "{%- if tools %}<|im_start|>system\nTools:{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}\n"
    "Call them as <tool_call>{name, arguments}</tool_call>.<|im_end|>\n{% endif %}"
    "{%- for message in messages %}"
    "{%- if message.role == 'tool' %}<|im_start|>user\n<tool_response>\n{{ message.content }}\n</tool_response>"
    "{%- else %}<|im_start|>{{ message.role }}"
    "{%- if message.content %}{{ '\n' + message.content }}{% endif %}"
    "{%- for call in message.tool_calls %}{% set call = call.function %}"
    '{{- \'\n<tool_call>\n{"name": "\' + call.name + \'", "arguments": \' + (call.arguments | tojson) }}'
    "{{- '}\n</tool_call>' }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = (
    "{%- if not tools is defined %}{% set tools = none %}{% endif %}"
    "<|im_start|>system\n{% if tools is not none %}Environment: ipython\n"
    'Respond as {"name": function, "parameters": values}.\n'
    "{% for t in tools %}{{ t | tojson(indent=4) }}\n\n{% endfor %}"
    "{% endif %}<|im_end|>"
    "{%- for message in messages %}"
    "{%- if not (message.role == 'tool' or 'tool_calls' in message) %}"
    "{{- '<|im_start|>' + message['role'] + '\n' + message['content'] | trim + '<|im_end|>' }}"
    "{%- elif 'tool_calls' in message %}"
    "{%- if message.tool_calls | length != 1 %}{{ raise_exception('One tool call at once, please!') }}{% endif %}"
    "{%- set call = message.tool_calls[0].function %}<|im_start|>assistant\n"
    "{{- '{\"name\": \"' + call.name + '\", \"parameters\": ' + (call.arguments | tojson) + '}' }}<|im_end|>"
    "{%- else %}<|im_start|>ipython\n{{ message.content | tojson }}<|im_end|>{% endif %}{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MISTRAL = (
    "{%- set asked = messages | selectattr('role', 'equalto', 'user') | list %}"
    "{%- for message in messages %}"
    "{%- if message['role'] == 'user' %}"
    "{%- if tools is not none and message == asked[-1] %}"
    "[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}"
    "{{- '[INST] ' + message['content'] + '[/INST]' }}"
    "{%- elif message.tool_calls is defined and message.tool_calls is not none %}[TOOL_CALLS] ["
    "{%- for call in message.tool_calls %}"
    "{%- if call.id | length != 9 %}{{ raise_exception('Ids must have nine letters or digits!') }}{% endif %}"
    "{{- (call.function | tojson)[:-1] + ', \"id\": \"' + call.id + '\"}' }}{{ ', ' if not loop.last }}{% endfor %}]"
    "{{- eos_token }}"
    "{%- elif message['role'] == 'tool' %}"
    "{{- '[TOOL_RESULTS] {\"content\": ' + message.content + ', \"call_id\": \"' + message.tool_call_id + '\"}' }}"
    "{%- else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
NEW_MISTRAL = (
    "{%- if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}"
    "{%- for message in messages %}"
    "{%- if message.role == 'assistant' %}{{ message.content }}"
    "{%- for call in message.tool_calls %}"
    "{{- '[TOOL_CALLS]' + call.function.name + '[ARGS]' + call.function.arguments | tojson }}{% endfor %}"
    "{{- eos_token }}"
    "{%- elif message.role == 'tool' %}[TOOL_RESULTS]{{ message.content }}[/TOOL_RESULTS]"
    "{%- else %}[INST]{{ message.content }}[/INST]{% endif %}{% endfor %}"
)
TEMPLATES = {"hermes": QWEN, "llama3": LLAMA, "mistral": MISTRAL, "mistral, newer": NEW_MISTRAL}
