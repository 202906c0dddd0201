"""Operations as OpenAPI describes them: parameters, bodies with an example, all from the table."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from schemas.requests.operation import Operation
from schemas.requests.skills import CAPTION

#: A picture as base64, for examples.
PICTURE: str = CAPTION.example["frame_data"]
_BINARY = {"type": "string", "format": "binary"}
_IN_PATH = re.compile(r"{(\w+)(?::\w+)?}")


def path_names(path: str, names: Mapping[str, str]) -> list[str]:
    """The fields that stand in a path."""
    return [names.get(name, name) for name in _IN_PATH.findall(path)]


def parameters_of(
    operation: Operation[Any, Any], method: str, path: str, names: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Those of the path, and of the query where there is no body.

    Args:
        operation: Whose fields they are.
        method: GET and DELETE have a query.
        path: With `{field}`.
        names: Fields by what the path calls them.
    """
    schema = schema_of(operation)
    found = []
    for name in _IN_PATH.findall(path):
        field = names.get(name, name)
        parameter = _parameter(name, "path", schema["properties"].get(field, {"type": "string"}))
        found.append({**parameter, "required": True, **_example(operation, field)})
    if method in ("GET", "DELETE"):
        in_path = path_names(path, names)
        for field, each in schema.get("properties", {}).items():
            if field not in in_path:
                found.append(_parameter(field, "query", each) | _example(operation, field))
    return found


def body_of(operation: Operation[Any, Any], in_path: Collection[str]) -> dict[str, Any] | None:
    """The JSON body with its example; None where the path says all there is to say."""
    schema = schema_of(operation)
    fields = {k: v for k, v in schema.get("properties", {}).items() if k not in in_path}
    if not fields:
        return None
    required = [name for name in schema.get("required", ()) if name not in in_path]
    example = {k: v for k, v in operation.example.items() if k not in in_path}
    described = {**schema, "properties": fields, "required": required}
    if not required:
        del described["required"]
    return {
        "required": bool(required),
        "content": {"application/json": {"schema": described, "example": example}},
    }


def picture_body(operation: Operation[Any, Any]) -> dict[str, Any]:
    """The bodies of a request with a picture: as JSON, as it is, in a form."""
    schema = schema_of(operation)
    url = {"type": "string", "description": "data URI, base64 or http(s) address of the image"}
    fields = {**schema["properties"], "image_url": url}
    others = {k: v for k, v in fields.items() if k not in ("frame_data", "image_url")}
    required = [name for name in schema.get("required", ()) if name != "camera_id"]
    json_schema = {**schema, "properties": fields, "required": required}
    form = {"type": "object", "properties": {"file": _BINARY, **others}, "required": ["file"]}
    if not required:
        del json_schema["required"]
    content: dict[str, Any] = {
        "application/json": {"schema": json_schema, "example": operation.example},
        "multipart/form-data": {"schema": form},
    }
    content.update(
        {kind: {"schema": _BINARY} for kind in ("image/jpeg", "image/png", "image/webp")}
    )
    return {
        "description": "Fields of an image that is sent as it is stand in the query, or in headers "
        "like `X-Camera-Id`; lists and objects as JSON.",
        "required": True,
        "content": content,
    }


def json_body(example: dict[str, Any], what: str) -> dict[str, Any]:
    """A body whose one field is said by its example and a sentence."""
    [(name, value)] = example.items()
    texts = {"type": "array", "items": {"type": "string"}}
    field = {**(texts if isinstance(value, list) else {"type": "string"}), "description": what}
    schema = {"type": "object", "properties": {name: field}, "required": [name]}
    return {
        "required": True,
        "content": {"application/json": {"schema": schema, "example": example}},
    }


def form_body(name: str) -> dict[str, Any]:
    """A form with one file."""
    schema = {"type": "object", "properties": {name: _BINARY}, "required": [name]}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def schema_of(operation: Operation[Any, Any]) -> dict[str, Any]:
    """Of a request, whole in itself: OpenAPI keeps what is referred to elsewhere."""
    schema = operation.request.model_json_schema()
    whole: dict[str, Any] = _inlined(schema, schema.get("$defs", {}))
    whole.pop("$defs", None)
    return whole


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if (reference := schema.get("$ref")) is not None:
        beside = {name: value for name, value in schema.items() if name != "$ref"}
        return {**_inlined(definitions[reference.rpartition("/")[2]], definitions), **beside}
    return {k: v if k == "$defs" else _inlined(v, definitions) for k, v in schema.items()}


def _parameter(name: str, where: str, schema: dict[str, Any]) -> dict[str, Any]:
    said = {k: v for k, v in schema.items() if k != "description"}
    parameter = {"name": name, "in": where, "schema": said}
    if "description" in schema:
        parameter["description"] = schema["description"]
    return parameter


def _example(operation: Operation[Any, Any], field: str) -> dict[str, Any]:
    return {"example": operation.example[field]} if field in operation.example else {}
