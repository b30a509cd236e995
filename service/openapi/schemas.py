"""From msgspec types to the schemas of a document.

msgspec describes what its decoder accepts, where a field with a default may be missing. That is
right for what we read. What we send is stricter: the encoder writes every field except one that is
UNSET, and a field of one choice always holds it. Nothing here forbids further fields, because both
sides of the contract ignore those that they do not know.

The notes under the fields are taken from the source, for Python does not keep them.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from types import ModuleType
from typing import Any, TypeAlias, get_args

import msgspec
from msgspec import UNSET, Struct
from msgspec.structs import fields

from service.events import ERROR_CODES, ErrorCode, Event

__all__ = ["Schema", "error_code_schema", "event_schema", "ref", "schemas_read", "schemas_sent"]

Schema: TypeAlias = dict[str, Any]


def ref(name: str, kind: str = "schemas") -> Schema:
    """A reference to one of the document's components."""
    return {"$ref": f"#/components/{kind}/{name}"}


def schemas_read(*types: type[Struct]) -> dict[str, Schema]:
    """Schemas of what a caller sends: a field that has a default may be left out."""
    _, components = msgspec.json.schema_components(types, ref_template=ref("{name}")["$ref"])
    schemas: dict[str, Schema] = _typed(components)
    for type_ in types:
        properties = schemas[type_.__name__]["properties"]
        for name, note in _notes(type_).items():
            properties[name].setdefault("description", note)
    return schemas


def schemas_sent(*types: type[Struct]) -> dict[str, Schema]:
    """Schemas of what the service sends; `types` must name the nested ones too."""
    schemas = schemas_read(*types)
    for type_ in types:
        schema = schemas[type_.__name__]
        schema["required"] = [f.encode_name for f in fields(type_) if f.default is not UNSET]
        schema["properties"] = {
            name: _as_sent(value) for name, value in schema["properties"].items()
        }
    return schemas


def event_schema() -> Schema:
    """Any event of the stream: `type` says which, and where two share a type, either of them."""
    by_type: defaultdict[str, list[Schema]] = defaultdict(list)
    for event in get_args(Event):
        tag = next(f.default for f in fields(event) if f.name == "type")
        by_type[tag].append(ref(event.__name__))
    return {
        "title": "Event",
        "description": "What the `data` of one block of the stream holds; `type` says which it is.",
        "oneOf": [
            refs[0] if len(refs) == 1 else {"title": tag, "anyOf": refs}
            for tag, refs in by_type.items()
        ],
    }


def error_code_schema() -> Schema:
    """Why a model failed."""
    return {
        "title": "ErrorCode",
        "description": "Why a model failed.",
        "type": "string",
        "enum": list(get_args(ErrorCode)),
    }


def _typed(value: Any) -> Any:
    """A part of a schema whose choices of words are said to be strings, which pages show."""
    match value:
        case {"enum": [*choices], **rest} if all(isinstance(choice, str) for choice in choices):
            return {"type": "string", "enum": choices, **rest}
        case dict():
            return {key: _typed(part) for key, part in value.items()}
        case list():
            return [_typed(part) for part in value]
    return value


def _as_sent(value: Any) -> Any:
    """A part of a schema without defaults; one choice is constant, error codes are by name."""
    match value:
        case {"enum": [only], **rest}:
            return {"const": only, **_as_sent(rest)}
        case {"enum": choices} if ERROR_CODES.issubset(choices):
            return ref("ErrorCode")
        case dict():
            return {key: _as_sent(part) for key, part in value.items() if key != "default"}
        case list():
            return [_as_sent(part) for part in value]
    return value


def _notes(type_: type[Struct]) -> dict[str, str]:
    """What the source says under each field of `type_`."""
    return _notes_of(sys.modules[type_.__module__]).get(type_.__name__, {})


@cache
def _notes_of(module: ModuleType) -> dict[str, dict[str, str]]:
    try:
        tree = ast.parse(inspect.getsource(module))
    except OSError:  # installed without its source: the document is valid without them
        return {}
    return {
        node.name: dict(_field_notes(node.body))
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }


def _field_notes(body: list[ast.stmt]) -> Iterable[tuple[str, str]]:
    for statement, following in pairwise(body):
        match statement, following:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(note))),
            ):
                yield name, inspect.cleandoc(note)
