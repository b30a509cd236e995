"""Streams in the shapes that Anthropic, Google and Ollama send, block by block.

As in `tests.recordings`: a block says what it adds to the answer. Two are whole by a marker; a
stream of Google's is by a reason and an orderly end, so what is torn at its end undoes the reason.
"""

from __future__ import annotations

from collections.abc import Callable

from service.events import Usage
from service.providers import Ending
from service.providers.anthropic import MessagesReading
from service.providers.dialect import Reading
from service.providers.gemini import ContentReading
from service.providers.ollama import LinesReading
from tests.recordings import Block, Recording, block

__all__ = ["ANTHROPIC", "GEMINI", "OLLAMA", "RECORDED"]

# --- Anthropic ---------------------------------------------------------------------------------


def named(kind: str, rest: str = "", said: str = "", *, thought: str = "") -> Block:
    """One event of the Messages API; its type stands before the data and in it."""
    return block(
        f'{{"type":"{kind}"{rest}}}',
        said,
        thought=thought,
        finishing=kind == "message_stop",
        before=f"event: {kind}\ndata: ",
    )


def grown(index: int, delta: str, said: str = "", *, thought: str = "") -> Block:
    rest = f',"index":{index},"delta":{{{delta}}}'
    return named("content_block_delta", rest, said, thought=thought)


BEGUN = named(
    "message_start",
    ',"message":{"id":"msg_01XFD","type":"message","role":"assistant","model":"claude-sonnet-4-5",'
    '"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":25,'
    '"cache_creation_input_tokens":4,"cache_read_input_tokens":100,"output_tokens":1,'
    '"service_tier":"standard"}}',
)
PING = named("ping")
TEXT_BEGUN = named("content_block_start", ',"index":0,"content_block":{"type":"text","text":""}')
STOPPED = named("content_block_stop", ',"index":0')
CONCLUDED = named(
    "message_delta",
    ',"delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"input_tokens":25,'
    '"cache_creation_input_tokens":4,"cache_read_input_tokens":100,"output_tokens":15}',
)
OVER = named("message_stop")

ANTHROPIC = (
    Recording(
        server="Anthropic",
        blocks=(
            BEGUN,
            TEXT_BEGUN,
            PING,
            grown(0, '"type":"text_delta","text":"Grüße"', "Grüße"),
            grown(0, '"type":"text_delta","text":" 👋🏽\\n\\ndata: x"', " 👋🏽\n\ndata: x"),
            STOPPED,
            CONCLUDED,
            OVER,
        ),
        comes_to=Ending(
            finish_reason="end_turn",
            usage=Usage(input_tokens=129, output_tokens=15, reasoning_tokens=0, estimated=False),
        ),
    ),
    Recording(
        server="Anthropic, thinking",
        blocks=(
            BEGUN,
            named(
                "content_block_start",
                ',"index":0,"content_block":{"type":"thinking","thinking":"","signature":""}',
            ),
            grown(0, '"type":"thinking_delta","thinking":"Hm, über…"', thought="Hm, über…"),
            PING,
            grown(0, '"type":"signature_delta","signature":"EqQBCgIYAhIM1gbcDa9GJwZA2b3h"'),
            STOPPED,
            named(
                "content_block_start",
                ',"index":1,"content_block":{"type":"redacted_thinking","data":"EmwKAhgBEgy3"}',
            ),
            named("content_block_start", ',"index":2,"content_block":{"type":"text","text":""}'),
            grown(2, '"type":"text_delta","text":"Ja"', "Ja"),
            grown(2, '"type":"citations_delta","citation":{"type":"char_location","text":"x"}'),
            STOPPED,
            named(
                "message_delta",
                ',"delta":{"stop_reason":"max_tokens","stop_sequence":null},'
                '"usage":{"output_tokens":90,"output_tokens_details":{"thinking_tokens":64}}',
            ),
            OVER,
        ),
        comes_to=Ending(
            finish_reason="max_tokens",
            usage=Usage(input_tokens=129, output_tokens=90, reasoning_tokens=64, estimated=False),
        ),
    ),
    Recording(
        server="Anthropic, failing in the middle",
        blocks=(
            BEGUN,
            TEXT_BEGUN,
            grown(0, '"type":"text_delta","text":"Half an"', "Half an"),
            named("error", ',"error":{"type":"overloaded_error","message":"Overloaded"}'),
        ),
        comes_to="overloaded",
    ),
    Recording(
        server="Anthropic, cut before its marker",
        blocks=(
            BEGUN,
            TEXT_BEGUN,
            grown(0, '"type":"text_delta","text":"Once"', "Once"),
            STOPPED,
            CONCLUDED,
        ),
        comes_to="truncated",
    ),
)

# --- Gemini ------------------------------------------------------------------------------------


def response(candidate: str, usage: str, said: str = "", **known: str) -> Block:
    """One response object; Google ends its lines with CRLF."""
    candidates = f'"candidates":[{{{candidate}"index":0}}],' if candidate else ""
    return block(
        f'{{{candidates}"usageMetadata":{{"promptTokenCount":9{usage}}},'
        '"modelVersion":"gemini-2.5-flash","responseId":"Yk0f"}',
        said,
        thought=known.get("thought", ""),
        finishing='"finishReason"' in candidate,
        end="\r\n\r\n",
    )


def part(text: str, more: str = "") -> str:
    return f'"content":{{"parts":[{{"text":"{text}"{more}}}],"role":"model"}},'


REASON = '"finishReason":"STOP",'

GEMINI = (
    Recording(
        server="Gemini",
        blocks=(
            response(
                part("Hm, über…", ',"thought":true'),
                ',"totalTokenCount":40,"thoughtsTokenCount":31',
                thought="Hm, über…",
            ),
            response(
                part("Grüße 👋🏽", ',"thoughtSignature":"CpkBAcu98"'),
                ',"candidatesTokenCount":4,"totalTokenCount":44,"thoughtsTokenCount":31',
                "Grüße 👋🏽",
            ),
            response(
                part("\\n\\ndata: x") + REASON,
                ',"candidatesTokenCount":9,"totalTokenCount":49,"thoughtsTokenCount":31,'
                '"promptTokensDetails":[{"modality":"TEXT","tokenCount":9}]',
                "\n\ndata: x",
            ),
        ),
        comes_to=Ending(
            finish_reason="STOP",
            usage=Usage(input_tokens=9, output_tokens=40, reasoning_tokens=31, estimated=False),
        ),
    ),
    Recording(
        server="Gemini, the reason without a part",
        blocks=(
            response(part("日本語"), ',"totalTokenCount":9', "日本語"),
            response(
                '"finishReason":"MAX_TOKENS",', ',"candidatesTokenCount":3,"totalTokenCount":12'
            ),
        ),
        comes_to=Ending(
            finish_reason="MAX_TOKENS",
            usage=Usage(input_tokens=9, output_tokens=3, reasoning_tokens=0, estimated=False),
        ),
    ),
    Recording(
        server="Gemini, a reason in every event",
        blocks=(
            response(part("one ") + REASON, ',"candidatesTokenCount":1', "one "),
            response(part("two ") + REASON, ',"candidatesTokenCount":2', "two "),
            response(part("three") + REASON, ',"candidatesTokenCount":3', "three"),
        ),
        comes_to=Ending(
            finish_reason="STOP",
            usage=Usage(input_tokens=9, output_tokens=3, reasoning_tokens=0, estimated=False),
        ),
    ),
    Recording(
        server="Gemini, failing in the middle",
        blocks=(
            response(part("Half an"), ',"candidatesTokenCount":2', "Half an"),
            block(
                '{"error":{"code":503,"message":"The model is overloaded. Please try again later.",'
                '"status":"UNAVAILABLE"}}',
                end="\r\n\r\n",
            ),
        ),
        comes_to="overloaded",
    ),
    Recording(
        server="Gemini, stopped by a filter",
        blocks=(
            response(part("It begins"), ',"candidatesTokenCount":2', "It begins"),
            response('"finishReason":"SAFETY",', ',"candidatesTokenCount":2'),
        ),
        comes_to="content_filtered",
    ),
    Recording(
        server="Gemini, blocked",
        blocks=(
            block(
                '{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},'
                '"usageMetadata":{"promptTokenCount":9,"totalTokenCount":9}}',
                end="\r\n\r\n",
            ),
        ),
        comes_to="content_filtered",
    ),
)

# --- Ollama ------------------------------------------------------------------------------------


def line(rest: str, said: str = "", *, thought: str = "", finishing: bool = False) -> Block:
    return block(
        f'{{"model":"qwen3:8b","created_at":"2025-06-01T12:00:00.1Z",{rest}}}',
        said,
        thought=thought,
        finishing=finishing,
        before="",
        end="\n",
    )


def message(content: str, more: str = "") -> str:
    return f'"message":{{"role":"assistant","content":"{content}"{more}}},"done":false'


LOADED = (
    '"message":{"role":"assistant","content":""},"done_reason":"%s","done":true,'
    '"total_duration":4883583458,"load_duration":1334875,"prompt_eval_count":26,'
    '"prompt_eval_duration":342546000,"eval_count":282,"eval_duration":4535599000'
)

OLLAMA = (
    Recording(
        server="Ollama's own",
        blocks=(
            line(message("", ',"thinking":"Hm, über…"'), thought="Hm, über…"),
            line(message("Grüße"), "Grüße"),
            line(message(" \\u003cp\\u003e 👋🏽\\n\\n"), " <p> 👋🏽\n\n"),
            line(message("", ',"tool_calls":[{"function":{"name":"f","arguments":{}}}]')),
            line(LOADED % "stop", finishing=True),
        ),
        comes_to=Ending(
            finish_reason="stop",
            usage=Usage(input_tokens=26, output_tokens=282, reasoning_tokens=0, estimated=False),
        ),
    ),
    Recording(
        server="Ollama's own, cut by its bound",
        blocks=(line(message("日本"), "日本"), line(LOADED % "length", finishing=True)),
        comes_to=Ending(
            finish_reason="length",
            usage=Usage(input_tokens=26, output_tokens=282, reasoning_tokens=0, estimated=False),
        ),
    ),
    Recording(
        server="Ollama's own, failing in the middle",
        blocks=(
            line(message("Half an"), "Half an"),
            block('{"error":"an error was encountered"}', before="", end="\n"),
        ),
        comes_to="provider_error",
    ),
    Recording(
        server="Ollama's own, breaking off",
        blocks=(line(message("Once"), "Once"), line(message(" upon"), " upon")),
        comes_to="truncated",
    ),
)

RECORDED: tuple[tuple[Callable[[], Reading], Recording], ...] = (
    *((MessagesReading, recording) for recording in ANTHROPIC),
    *((ContentReading, recording) for recording in GEMINI),
    *((LinesReading, recording) for recording in OLLAMA),
)
"""Each recording with what reads it."""
