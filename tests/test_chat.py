"""Chat templates without transformers: the same text that transformers writes, and where the answers stand in it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny import LLAMA_LIKE, write_decoder_tokenizer

from tunebench.data.items import Conversation, Turn
from tunebench.errors import InputError, MissingExtra
from tunebench.predict.chat import answer_spans, render_chat

CHATML = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nBe brief.<|im_end|>\\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA_3 = """
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{{- bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
GEMMA = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% for message in messages %}
    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {% endif %}
    {% set role = 'model' if message['role'] == 'assistant' else message['role'] %}
    {{- '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{% endfor %}
{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""
BUSY = (  # everything else that templates use
    "{% set ns = namespace(seen=0, self='s') %}{% for m in messages %}{% if m.role == 'tool' %}{% continue %}{% endif %}"
    "{% set ns.seen = ns.seen + 1 %}{% if m['role'] == 'assistant' %}{% generation %}A: {{ m.content }}{{ eos_token }}"
    "{% endgeneration %}{% else %}{{ m | tojson }}{{ ns.seen }}{% endif %}\n{% if ns.seen > 8 %}"
    "{% break %}{% endif %}{% endfor %}{% if tools %}tools{% endif %}{% if add_generation_prompt %}A: {% endif %}"
)
PLAIN = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
LAST = (  # marks an answer that nothing follows
    "{% for m in messages %}{{ m.role }}:{{ '!' if loop.last and m.role == 'assistant' }}{{ m.content }};{% endfor %}"
    "{% if add_generation_prompt %}assistant:!{% endif %}"
)
TEMPLATES = {"chatml": CHATML, "llama-3": LLAMA_3, "gemma": GEMMA, "busy": BUSY, "plain": PLAIN}


def turns(*said: str) -> tuple[Turn, ...]:
    return tuple(Turn(*one.split(":", 1)) for one in said)


CHATS = {
    "asked": turns('user:Hi <b> & "you" 好'),
    "answered": turns("user: Hi ", "assistant: Hello \n"),
    "long": turns("user:a", "assistant:b\nc", "user:d", "assistant:e"),
    "open": turns("user:a", "assistant:b", "user:d"),
    "system": turns("system:s", "user:a", "assistant:b"),
}


def write(folder: Path, template: Any, *, in_settings: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    write_decoder_tokenizer(folder, LLAMA_LIKE)
    if in_settings:
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": template}))
    else:
        (folder / "chat_template.jinja").write_text(template, "utf-8")
    return folder


def by_transformers(folder: Path, said: Sequence[Turn], *, add_generation_prompt: bool) -> str | None:
    """What transformers writes, None where it fails."""
    import jinja2
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    messages = [turn._asdict() for turn in said]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt))
    except jinja2.TemplateError:
        return None


@pytest.mark.parametrize("name", TEMPLATES)
def test_conversations_are_written_as_transformers_writes_them(name: str, tmp_path: Path) -> None:
    for in_settings in (False, True):
        folder = write(tmp_path / str(in_settings), TEMPLATES[name], in_settings=in_settings)
        for said in CHATS.values():
            for prompt in (False, True):
                expected = by_transformers(folder, said, add_generation_prompt=prompt)
                if expected is None:
                    with pytest.raises(
                        InputError, match=r"does not take these turns \(system, user, assistant\): System role not"
                    ):
                        render_chat(folder, said, add_generation_prompt=prompt)
                else:
                    assert render_chat(folder, said, add_generation_prompt=prompt) == expected


ANSWERS = {
    "chatml": ["b\nc<|im_end|>", "e<|im_end|>"],
    "llama-3": ["b\nc<|eot_id|>", "e<|eot_id|>"],
    "gemma": ["b\nc<end_of_turn>", "e<end_of_turn>"],
    "busy": ["b\nc</s>", "e</s>"],
    "plain": ["b\nc\n", "e\n"],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_stand_where_the_model_would_be_asked_and_end_with_their_mark(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path, TEMPLATES[name])
    text, spans = answer_spans(folder, Conversation(CHATS["long"]))
    assert text == render_chat(folder, CHATS["long"], add_generation_prompt=False)
    assert [text[start:end] for start, end in spans] == ANSWERS[name]
    assert text.startswith(render_chat(folder, CHATS["long"][:1], add_generation_prompt=True))
    assert len(render_chat(folder, CHATS["long"][:1], add_generation_prompt=True)) == spans[0][0]
    text, spans = answer_spans(folder, Conversation(CHATS["open"]))
    assert len(spans) == 1
    assert text.rstrip().endswith(text[spans[0][1] :].rstrip()[-4:])


def test_answers_without_a_fixed_place_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, LAST)
    text, spans = answer_spans(folder, Conversation(CHATS["answered"]))
    assert [text[start:end] for start, end in spans] == [" Hello \n;"]
    with pytest.raises(InputError, match="message 2 differently when others follow, so its answer has no fixed place; give"):
        answer_spans(folder, Conversation(CHATS["long"]))


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for m in messages %}", "cannot be read: Unexpected end of template"),
        ("{{ messages[9]['role'] }}", "does not take these turns (user): list object has no element 9"),
        ("{{ messages[0]['content'] + 1 }}", "does not take these turns (user): can only concatenate str"),
        ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe"),
        ("{{ messages.append(1) }}", "access to attribute 'append' of 'list' object is unsafe"),
        ("{% set ns = namespace() %}{% set ns._x = 1 %}", "no name in a namespace may begin with an underscore"),
        ("{{ namespace(_x=1) }}", "no name in a namespace may begin with an underscore"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% include 'x' %}", "no loader for this environment"),
    ],
)
def test_templates_that_fail_are_told(template: str, words: str, tmp_path: Path) -> None:
    folder = write(tmp_path, template)
    with pytest.raises(InputError) as caught:
        render_chat(folder, CHATS["asked"], add_generation_prompt=False)
    assert str(caught.value).startswith(f"the chat template of {folder}: ")
    assert words in str(caught.value)


def test_of_several_templates_the_default_one_counts(tmp_path: Path) -> None:
    several = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": PLAIN}]
    folder = write(tmp_path, several, in_settings=True)
    assert render_chat(folder, CHATS["open"], add_generation_prompt=False) == "user: a\nassistant: b\nuser: d\n"
    write(tmp_path, several[:1], in_settings=True)
    with pytest.raises(InputError, match="has chat templates called tool_use, and none called default"):
        render_chat(folder, CHATS["open"], add_generation_prompt=False)
    write(tmp_path, "{{ messages[0].content }}")  # a file of its own goes before, and what changes is read again
    assert render_chat(folder, CHATS["open"], add_generation_prompt=False) == "a"
    (folder / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(InputError, match="cannot be read: UnicodeDecodeError"):
        render_chat(folder, CHATS["open"], add_generation_prompt=False)


def test_a_base_without_a_template_and_a_machine_without_jinja_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_decoder_tokenizer(tmp_path, LLAMA_LIKE)
    with pytest.raises(InputError, match="its tokenizer has no chat template; take a base that was tuned on conversations"):
        render_chat(folder, CHATS["asked"], add_generation_prompt=True)
    monkeypatch.setitem(sys.modules, "tunebench.predict.chat_sandbox", None)
    monkeypatch.delattr("tunebench.predict.chat_sandbox", raising=False)
    with pytest.raises(MissingExtra, match=r"tunebench\[train\]"):
        render_chat(folder, CHATS["asked"], add_generation_prompt=True)
