"""`docs/asyncapi.yaml`: the machine's view of every topic, as AsyncAPI 3."""

import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from broker.topics import OFFLINE, ONLINE, TopicSpec
from broker.topics import TABLE as TOPICS
from schemas.requests.envelope import Reply, Request
from schemas.requests.operation import Operation
from schemas.requests.table import TABLE as OPERATIONS

Object = dict[str, Any]

_PLACES = {
    "base": {"description": "mqtt.base_topic", "default": "moondream2mqtt"},
    "camera": {"description": "id of a camera: letters, digits, _ and -, at most 64"},
}
_STATE = {"type": "string", "enum": [ONLINE.decode(), OFFLINE.decode()]}
#: Payloads that are not JSON.
_OTHER: dict[str, Object] = {
    "bridge/state": {"contentType": "text/plain", "payload": _STATE},
    "image": {"contentType": "image/jpeg"},
}
_JSON = "application/json"


def document() -> Object:
    """The whole document."""
    channels: Object = {}
    operations: Object = {}
    for spec in TOPICS:
        if spec.schema not in {Request, Reply}:
            channels[_id(spec.name)] = _channel(spec)
            operations[_id(spec.name)] = _operation(spec)
    for operation in OPERATIONS:
        channels |= _channels_of(operation)
        operations[_id(f"bridge/request/{operation.name}")] = _exchange(operation)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "moondream2mqtt",
            "version": version("moondream2mqtt"),
            "description": "Turns camera motion into words over MQTT. Seen from the service: it "
            "receives frames and requests, and sends everything else.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": _JSON,
        "servers": {
            "broker": {
                "host": "localhost:1883",
                "protocol": "mqtt",
                "description": "Your broker, see mqtt.host; MQTT 5, or 3.1.1 where it has no more.",
            }
        },
        "channels": channels,
        "operations": operations,
    }


def _channel(spec: TopicSpec) -> Object:
    json: Object = {"contentType": _JSON, "payload": _schema(spec.name)} if spec.schema else {}
    message: Object = {"description": spec.description, **_OTHER.get(spec.name, json)}
    return _channel_of(spec.pattern, spec.name, message)


def _operation(spec: TopicSpec) -> Object:
    return {
        "action": "receive" if spec.direction == "in" else "send",
        "channel": {"$ref": f"#/channels/{_id(spec.name)}"},
        "summary": spec.description,
        "bindings": _bindings(spec.qos, retain=spec.retain),
    }


def _channels_of(operation: Operation[Any, Any]) -> Iterator[tuple[str, Object]]:
    for kind in ("request", "response"):
        name = f"bridge/{kind}/{operation.name}"
        message: Object = {"contentType": _JSON, "payload": _schema(name)}
        if kind == "request":
            message["examples"] = [{"payload": operation.example}]
        yield _id(name), _channel_of(f"<base>/{name}", name, message)


def _exchange(operation: Operation[Any, Any]) -> Object:
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{_id(f'bridge/request/{operation.name}')}"},
        "summary": operation.description,
        "description": "With MQTT 5, the answer goes to the Response Topic instead, which must be "
        "below {base}/response/requests/, with the Correlation Data.",
        "bindings": _bindings(1, retain=False),
        "reply": {"channel": {"$ref": f"#/channels/{_id(f'bridge/response/{operation.name}')}"}},
    }


def _channel_of(pattern: str, name: str, message: Object) -> Object:
    places = re.findall(r"<(\w+)>", pattern)
    return {
        "address": re.sub(r"<(\w+)>", r"{\1}", pattern),
        "messages": {_id(name): {"name": name, **message}},
        "parameters": {each: _PLACES.get(each, {}) for each in places},
    }


def _schema(name: str) -> Object:
    return {"$ref": f"./schemas/{name}.json"}


def _bindings(qos: int, *, retain: bool) -> Object:
    return {"mqtt": {"qos": qos, "retain": retain, "bindingVersion": "0.2.0"}}


def _id(name: str) -> str:
    return name.replace("/", "_")
