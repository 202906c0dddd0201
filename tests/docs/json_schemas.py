"""JSON Schemas of every payload, for programs in other languages: `docs/schemas/`.

A file is where its topic is: `docs/schemas/bridge/request/job/get.json` is what goes to
`<base>/bridge/request/job/get`, `docs/schemas/status.json` what comes on `<base>/<camera>/status`.
"""

from typing import Any

from pydantic import BaseModel

from broker.topics import TABLE as TOPICS
from schemas.requests.codes import CODES
from schemas.requests.envelope import MAX_TRANSACTION_CHARACTERS, Reply, Request
from schemas.requests.operation import Operation
from schemas.requests.table import TABLE as OPERATIONS

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TRANSACTION = {
    "description": "of whoever asks; comes back unchanged",
    "anyOf": [
        {"type": "string", "maxLength": MAX_TRANSACTION_CHARACTERS},
        {"type": "integer"},
        {"type": "null"},
    ],
}

Schema = dict[str, Any]


def schemas() -> dict[str, Schema]:
    """Each schema by its path below `docs/schemas/`, without the suffix."""
    found: dict[str, Schema] = {}
    for spec in TOPICS:
        if spec.schema not in {None, Request, Reply}:
            assert spec.schema is not None
            found[spec.name] = _of(spec.schema, spec.description, is_read=spec.direction == "in")
    for operation in OPERATIONS:
        found[f"bridge/request/{operation.name}"] = _request(operation)
        found[f"bridge/response/{operation.name}"] = _response(operation)
    return found


def _of(model: type[BaseModel], description: str, *, is_read: bool) -> Schema:
    schema = model.model_json_schema(mode="validation" if is_read else "serialization")
    return {"$schema": _DIALECT, **schema, "description": description}


def _request(operation: Operation[Any, Any]) -> Schema:
    schema = _of(operation.request, operation.description, is_read=True)
    properties = {**schema.get("properties", {}), "transaction": _TRANSACTION}
    return {**schema, "title": operation.name, "properties": properties}


def _response(operation: Operation[Any, Any]) -> Schema:
    data = operation.answer.model_json_schema(mode="serialization")
    definitions = data.pop("$defs", {})
    error = {
        "type": "object",
        "properties": {
            "code": {"type": "string", "examples": list(CODES)},
            "message": {"type": "string"},
        },
        "required": ["code", "message"],
    }
    schema = {
        "$schema": _DIALECT,
        "title": f"Answer to {operation.name}",
        "oneOf": [_reply("ok", "data", data), _reply("error", "error", error)],
    }
    return {**schema, "$defs": definitions} if definitions else schema


def _reply(status: str, name: str, content: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {
            "status": {"const": status},
            name: content,
            "transaction": _TRANSACTION,
        },
        "required": ["status", name],
        "additionalProperties": False,
    }
