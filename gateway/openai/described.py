"""The body of a request as OpenAPI describes it, with an example that works."""

from typing import Any

from schemas.requests.skills import CAPTION

_URI = f"data:image/png;base64,{CAPTION.example['frame_data']}"
_TEXT = {"type": "object", "properties": {"type": {"const": "text"}, "text": {"type": "string"}}}
_PICTURE = {
    "type": "object",
    "properties": {
        "type": {"const": "image_url"},
        "image_url": {
            "type": "object",
            "properties": {
                "url": {"type": "string", "description": "data URI, or an address to fetch"}
            },
        },
    },
}
_MESSAGE = {
    "type": "object",
    "properties": {
        "role": {"type": "string", "description": "system, user or assistant"},
        "content": {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"anyOf": [_TEXT, _PICTURE]}},
            ]
        },
    },
    "required": ["role"],
}
_FIELDS = {
    "messages": {"type": "array", "items": _MESSAGE, "minItems": 1},
    "model": {"type": "string", "description": "any; the answer names the real one"},
    "stream": {"type": "boolean", "default": False},
    "max_tokens": {
        "type": "integer",
        "description": "accepted, and does nothing: model.max_tokens of the service counts",
    },
    "temperature": {
        "type": "number",
        "description": "accepted, and does nothing: model.temperature of the service counts",
    },
    "response_format": {
        "type": "object",
        "description": "with `json_schema`: what is to be filled, one question a property",
    },
}

BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"type": "object", "properties": _FIELDS, "required": ["messages"]},
            "example": {
                "model": "moondream2",
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "Is there a dog?"},
                            {"type": "image_url", "image_url": {"url": _URI}},
                        ],
                    }
                ],
            },
        }
    },
}
