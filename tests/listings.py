"""Lists of models as providers send them: shapes that were recorded, cut to what they say."""

from __future__ import annotations

import json
from typing import Any

OPENROUTER: dict[str, Any] = {
    "data": [
        {
            "id": "anthropic/claude-sonnet-4",
            "canonical_slug": "anthropic/claude-4-sonnet-20250522",
            "hugging_face_id": "",
            "name": "Anthropic: Claude Sonnet 4",
            "created": 1747930371,
            "description": "Balances capability and computational efficiency.\n\nMore of it.",
            "context_length": 200000,
            "architecture": {
                "modality": "text+image->text",
                "input_modalities": ["image", "text", "file"],
                "output_modalities": ["text"],
                "tokenizer": "Claude",
                "instruct_type": None,
            },
            "pricing": {
                "prompt": "0.000003",
                "completion": "0.000015",
                "request": "0",
                "image": "0.0048",
                "web_search": "0",
                "internal_reasoning": "0",
                "input_cache_read": "0.0000003",
                "input_cache_write": "0.00000375",
            },
            "top_provider": {
                "context_length": 200000,
                "max_completion_tokens": 64000,
                "is_moderated": False,
            },
            "per_request_limits": None,
            "supported_parameters": ["max_tokens", "temperature", "tools"],
            "default_parameters": {},
            "expiration_date": None,
        },
        {
            "id": "openai/gpt-4o-mini",
            "canonical_slug": "openai/gpt-4o-mini",
            "name": "OpenAI: GPT-4o-mini",
            "description": "",
            "context_length": 128000,
            "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
            "pricing": {"prompt": "0.00000015", "completion": "0.0000006", "request": "0.001"},
            "top_provider": {"context_length": 128000, "max_completion_tokens": None},
            "supported_parameters": ["max_tokens"],
        },
        {
            "id": "qwen/qwen3-coder:free",
            "canonical_slug": "qwen/qwen3-coder-480b",
            "name": "Qwen: Qwen3 Coder (free)",
            "context_length": 262000,
            "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
            "pricing": {"prompt": "0", "completion": "0"},
            "top_provider": {"context_length": 262000},
        },
        {
            "id": "openrouter/auto",
            "canonical_slug": "openrouter/auto",
            "name": "Auto Router",
            "context_length": 2000000,
            "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
            "pricing": {"prompt": "-1", "completion": "-1"},
            "top_provider": {"context_length": None},
        },
        {
            "id": "google/gemini-2.5-flash-image",
            "name": "Google: Nano Banana",
            "architecture": {"input_modalities": ["text"], "output_modalities": ["image"]},
            "pricing": {"prompt": "0.0000003", "completion": "0.0000025"},
        },
    ]
}
OPENAI: dict[str, Any] = {
    "object": "list",
    "data": [
        {"id": "gpt-4o-mini", "object": "model", "created": 1721172741, "owned_by": "system"},
        {"id": "gpt-4o-mini-2024-07-18", "object": "model", "created": 1, "owned_by": "system"},
        {"id": "text-embedding-3-small", "object": "model", "created": 1, "owned_by": "system"},
        {"id": "gpt-4o-mini-tts", "object": "model", "created": 1, "owned_by": "system"},
        {"id": "ft:gpt-4o-mini:acme::x1", "object": "model", "created": 1, "owned_by": "acme-1"},
    ],
}
VLLM: dict[str, Any] = {
    "object": "list",
    "data": [
        {
            "id": "Qwen/Qwen2.5-7B-Instruct",
            "object": "model",
            "created": 1,
            "owned_by": "vllm",
            "root": "Qwen/Qwen2.5-7B-Instruct",
            "parent": None,
            "max_model_len": 32768,
            "permission": [{"id": "modelperm-1", "object": "model_permission"}],
        }
    ],
}
ANTHROPIC: dict[str, Any] = {
    "data": [
        {
            "type": "model",
            "id": "claude-sonnet-4-5-20250929",
            "display_name": "Claude Sonnet 4.5",
            "created_at": "2025-09-29T00:00:00Z",
        },
        {
            "type": "model",
            "id": "claude-later",
            "display_name": "Claude Later",
            "created_at": "2026-01-01T00:00:00Z",
            "max_input_tokens": 1000000,
            "max_tokens": 128000,
            "capabilities": {
                "image_input": {"supported": True},
                "pdf_input": {"supported": False},
            },
        },
    ],
    "has_more": False,
    "first_id": "claude-sonnet-4-5-20250929",
    "last_id": "claude-later",
}
GEMINI: dict[str, Any] = {
    "models": [
        {
            "name": "models/gemini-2.5-flash",
            "version": "001",
            "displayName": "Gemini 2.5 Flash",
            "description": "Stable version of Gemini 2.5 Flash.",
            "inputTokenLimit": 1048576,
            "outputTokenLimit": 65536,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
            "temperature": 1,
            "thinking": True,
        },
        {
            "name": "models/text-embedding-004",
            "displayName": "Text Embedding 004",
            "inputTokenLimit": 2048,
            "outputTokenLimit": 1,
            "supportedGenerationMethods": ["embedContent"],
        },
    ],
    "nextPageToken": "Ch9+/=",
}
OLLAMA: dict[str, Any] = {
    "models": [
        {
            "name": "llama3.2:3b",
            "model": "llama3.2:3b",
            "modified_at": "2025-05-04T17:37:44.706015396-07:00",
            "size": 2019393189,
            "digest": "a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72",
            "details": {
                "parent_model": "",
                "format": "gguf",
                "family": "llama",
                "families": ["llama"],
                "parameter_size": "3.2B",
                "quantization_level": "Q4_K_M",
            },
        },
        {"name": "deepseek-r1:latest", "model": "deepseek-r1:latest", "details": None},
        {"name": "nomic-embed-text:latest", "details": {"family": "nomic-bert"}},
        {"name": "llava:7b", "capabilities": ["completion", "vision"]},
        {"name": "bge-m3:latest", "capabilities": ["embedding"]},
    ]
}


def sent(value: object) -> bytes:
    """As the body of a response."""
    return json.dumps(value).encode()
