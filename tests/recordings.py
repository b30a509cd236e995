"""Streams in the shapes that servers of the OpenAI dialect really send, block by block.

A block says what it adds to the answer, so that a test knows what any beginning of the stream
holds: `said` is text, `thought` is reasoning, `finishing` says that the answer is whole from here.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.events import ErrorCode, Usage
from service.providers import Ending

__all__ = ["RECORDINGS", "Block", "Recording"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One event or comment, with the blank line that ends it."""

    raw: bytes
    said: str = ""
    thought: str = ""
    finishing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One stream, and what it comes to."""

    server: str
    blocks: tuple[Block, ...]
    comes_to: Ending | ErrorCode

    @property
    def raw(self) -> bytes:
        return b"".join(block.raw for block in self.blocks)


def block(
    data: str,
    said: str = "",
    *,
    thought: str = "",
    finishing: bool = False,
    before: str = "data: ",
    end: str = "\n\n",
) -> Block:
    raw = (before + data + end).encode()
    return Block(raw=raw, said=said, thought=thought, finishing=finishing)


DONE = block("[DONE]", finishing=True)


def openrouter(choice: str, rest: str = "") -> str:
    return (
        '{"id":"gen-1763831400-Qm3","provider":"Google","model":"google/gemini-2.5-flash",'
        '"object":"chat.completion.chunk","created":1763831400,"choices":[{"index":0,'
        f'{choice},"logprobs":null}}]{rest}}}'
    )


OPENROUTER = Recording(
    server="OpenRouter",
    blocks=(
        block(" OPENROUTER PROCESSING", before=":"),
        block(
            openrouter(
                '"delta":{"role":"assistant","content":"","reasoning":"Hm, über…",'
                '"reasoning_details":[{"type":"reasoning.text","text":"Hm, über…"}]},'
                '"finish_reason":null,"native_finish_reason":null'
            ),
            thought="Hm, über…",
        ),
        block(" OPENROUTER PROCESSING", before=":"),
        block(
            openrouter('"delta":{"role":"assistant","content":"Grüße 👋🏽"},"finish_reason":null'),
            "Grüße 👋🏽",
        ),
        block(openrouter('"delta":{"role":"assistant","content":"\\n\\ndata: x"}'), "\n\ndata: x"),
        block(
            openrouter(
                '"delta":{"role":"assistant","content":""},"finish_reason":"stop",'
                '"native_finish_reason":"STOP"'
            ),
            finishing=True,
        ),
        block(
            openrouter(
                '"delta":{"role":"assistant","content":""},"finish_reason":"stop",'
                '"native_finish_reason":"STOP"',
                ',"usage":{"prompt_tokens":14,"completion_tokens":163,"total_tokens":177,'
                '"cost":0.0001407,"is_byok":false,"prompt_tokens_details":{"cached_tokens":0},'
                '"cost_details":{"upstream_inference_cost":null},'
                '"completion_tokens_details":{"reasoning_tokens":64}}',
            ),
            finishing=True,
        ),
        DONE,
    ),
    comes_to=Ending(
        finish_reason="stop",
        usage=Usage(input_tokens=14, output_tokens=163, reasoning_tokens=64, estimated=False),
        cost_usd=0.0001407,
    ),
)

OPENROUTER_ERROR = Recording(
    server="OpenRouter, failing in the middle",
    blocks=(
        block(openrouter('"delta":{"role":"assistant","content":"Half an"}'), "Half an"),
        block(
            openrouter(
                '"delta":{"content":""},"finish_reason":"error","native_finish_reason":"error"',
                ',"error":{"code":429,"message":"Rate limit exceeded","metadata":'
                '{"error_type":"rate_limit_exceeded","provider_code":"rate_limited"}}',
            )
        ),
    ),
    comes_to="rate_limited",
)


def openai(choices: str, usage: str = "null") -> str:
    return (
        '{"id":"chatcmpl-CeYw","object":"chat.completion.chunk","created":1763831400,'
        '"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_5",'
        f'"choices":[{choices}],"usage":{usage},"obfuscation":"x7Q"}}'
    )


OPENAI = Recording(
    server="OpenAI",
    blocks=(
        block(
            openai(
                '{"index":0,"delta":{"role":"assistant","content":"","refusal":null},'
                '"logprobs":null,"finish_reason":null}'
            )
        ),
        block(
            openai(
                '{"index":0,"delta":{"content":"Caf\\u00e9 \\ud83d\\ude00"},"finish_reason":null}'
            ),
            "Café 😀",
        ),
        block(
            openai('{"index":0,"delta":{"content":" \\"1\\u2028\\""},"finish_reason":null}'),
            ' "1\u2028"',
        ),
        block(openai('{"index":0,"delta":{},"finish_reason":"length"}'), finishing=True),
        block(
            openai(
                "",
                '{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,'
                '"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}}',
            ),
            finishing=True,
        ),
        DONE,
    ),
    comes_to=Ending(
        finish_reason="length",
        usage=Usage(input_tokens=9, output_tokens=12, reasoning_tokens=0, estimated=False),
    ),
)


def vllm(choice: str) -> str:
    return (
        '{"id":"chatcmpl-9f","object":"chat.completion.chunk","created":1763831400,'
        f'"model":"Qwen/QwQ-32B","choices":[{{"index":0,{choice}}}],"usage":{{"prompt_tokens":5,'
        '"total_tokens":7,"completion_tokens":2}}'
    )


VLLM = Recording(
    server="vLLM, usage in each chunk",
    blocks=(
        block(vllm('"delta":{"role":"assistant","content":""},"logprobs":null')),
        block(
            vllm('"delta":{"reasoning_content":"Let me"},"finish_reason":null'), thought="Let me"
        ),
        block(vllm('"delta":{"content":"naïve"},"finish_reason":null'), "naïve"),
        block(
            vllm('"delta":{"content":"."},"finish_reason":"stop","stop_reason":null'),
            ".",
            finishing=True,
        ),
        DONE,
    ),
    comes_to=Ending(
        finish_reason="stop",
        usage=Usage(input_tokens=5, output_tokens=2, reasoning_tokens=0, estimated=False),
    ),
)


def llama_cpp(choices: str, rest: str = "") -> str:
    return (
        f'{{"choices":[{choices}],"created":1763831400,"id":"chatcmpl-kV","model":"gpt-oss",'
        f'"system_fingerprint":"b6700-1","object":"chat.completion.chunk"{rest}}}'
    )


LLAMA_CPP = Recording(
    server="llama.cpp",
    blocks=(
        block(
            llama_cpp(
                '{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}'
            )
        ),
        block(llama_cpp('{"finish_reason":null,"index":0,"delta":{"content":"日本"}}'), "日本"),
        block(llama_cpp('{"finish_reason":null,"index":0,"delta":{"content":"語\\r"}}'), "語\r"),
        block(llama_cpp('{"finish_reason":"stop","index":0,"delta":{}}'), finishing=True),
        block(
            llama_cpp(
                "",
                ',"usage":{"completion_tokens":3,"prompt_tokens":70,"total_tokens":73},'
                '"timings":{"prompt_n":1,"prompt_ms":26.1,"predicted_per_second":118.9}',
            ),
            finishing=True,
        ),
        DONE,
    ),
    comes_to=Ending(
        finish_reason="stop",
        usage=Usage(input_tokens=70, output_tokens=3, reasoning_tokens=0, estimated=False),
    ),
)


def lm_studio(choice: str) -> str:
    return (
        '{"id":"chatcmpl-4e","object":"chat.completion.chunk","created":1763831400,'
        f'"model":"gemma-3","system_fingerprint":"gemma-3","choices":[{{"index":0,{choice}}}]}}'
    )


LM_STUDIO = Recording(
    server="LM Studio",
    blocks=(
        block(
            lm_studio(
                '"delta":{"role":"assistant","content":"Ja"},"logprobs":null,"finish_reason":null'
            ),
            "Ja",
        ),
        block(lm_studio('"delta":{"content":"\\tnein "},"finish_reason":null'), "\tnein "),
        block(lm_studio('"delta":{},"logprobs":null,"finish_reason":"stop"'), finishing=True),
        DONE,
    ),
    comes_to=Ending(finish_reason="stop"),
)

OLLAMA_HEAD = (
    '{"id":"chatcmpl-402","object":"chat.completion.chunk","created":1763831400,'
    '"model":"llama3.2","system_fingerprint":"fp_ollama","choices":['
)
OLLAMA = Recording(
    server="Ollama",
    blocks=(
        block(
            OLLAMA_HEAD + '{"index":0,"delta":{"role":"assistant","content":"\\u003cp\\u003e é"},'
            '"finish_reason":null}]}',
            "<p> é",
        ),
        block(
            OLLAMA_HEAD + '{"index":0,"delta":{"role":"assistant","content":""},'
            '"finish_reason":"stop"}]}',
            finishing=True,
        ),
        block(
            OLLAMA_HEAD + '],"usage":{"prompt_tokens":29,"completion_tokens":4,"total_tokens":33}}',
            finishing=True,
        ),
        DONE,
    ),
    comes_to=Ending(
        finish_reason="stop",
        usage=Usage(input_tokens=29, output_tokens=4, reasoning_tokens=0, estimated=False),
    ),
)

AZURE = Recording(
    server="Azure OpenAI",
    blocks=(
        block(
            '{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":'
            '[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,'
            '"severity":"safe"}}}]}'
        ),
        block(
            '{"choices":[{"content_filter_results":{},"delta":{"content":"","role":"assistant"},'
            '"finish_reason":null,"index":0}],"object":"chat.completion.chunk"}'
        ),
        block(
            '{"choices":[{"content_filter_results":{"hate":{"filtered":false}},'
            '"delta":{"content":"Ω"},"finish_reason":null,"index":0}],"usage":null}',
            "Ω",
        ),
        block(
            '{"choices":[{"content_filter_results":{},"delta":{},"finish_reason":"stop",'
            '"index":0}],"usage":null}',
            finishing=True,
        ),
        DONE,
    ),
    comes_to=Ending(finish_reason="stop"),
)

YI = Recording(
    server="01.AI, with CRLF and without spaces",
    blocks=(
        block(
            '{"id":"cmpl-1","choices":[{"delta":{"role":"assistant","content":"你"},"index":0}]}',
            "你",
            before="data:",
            end="\r\n\r\n",
        ),
        block(
            '{"id":"cmpl-1","choices":[{"delta":{"content":"好"},"index":0,'
            '"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}',
            "好",
            before="data:",
            end="\r\n\r\n",
            finishing=True,
        ),
        block("[DONE] ", before="data:", end="\r\n\r\n", finishing=True),
    ),
    comes_to=Ending(
        finish_reason="stop",
        usage=Usage(input_tokens=3, output_tokens=2, reasoning_tokens=0, estimated=False),
    ),
)

NO_MARKER = Recording(
    server="one without a marker",
    blocks=(
        block('{"choices":[{"index":0,"delta":{"content":"a ü"}}]}', "a ü"),
        block(
            '{"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"stop"}]}',
            "b",
            finishing=True,
        ),
    ),
    comes_to=Ending(finish_reason="stop"),
)

NO_REASON = Recording(
    server="one without a reason",
    blocks=(
        block('{"choices":[{"delta":{"content":"a"}}]}', "a", before="event: data\ndata: "),
        block("[DONE]", before="event: data\ndata: ", finishing=True),
    ),
    comes_to=Ending(finish_reason=None),
)

CUT_OFF = Recording(
    server="one that breaks off",
    blocks=(block('{"choices":[{"delta":{"content":"Once upon"}}]}', "Once upon"),),
    comes_to="truncated",
)

RECORDINGS = (
    OPENROUTER,
    OPENROUTER_ERROR,
    OPENAI,
    VLLM,
    LLAMA_CPP,
    LM_STUDIO,
    OLLAMA,
    AZURE,
    YI,
    NO_MARKER,
    NO_REASON,
    CUT_OFF,
)
