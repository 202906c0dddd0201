"""The schemas for other languages are valid, and say what the service reads and writes."""

import json
import re
from typing import Any

import pytest
import yaml
from asyncapi3.models.asyncapi import AsyncAPI3
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from broker.topics import TABLE as TOPICS
from schemas.camera import CameraSettings
from schemas.frame import MotionFrame
from schemas.requests.operation import Operation
from schemas.requests.table import TABLE
from tests.docs.asyncapi import document
from tests.docs.json_schemas import schemas
from tests.docs.reference import ROOT

SCHEMAS = schemas()


def errors(name: str, value: Any) -> list[str]:
    found = Draft202012Validator(SCHEMAS[name]).iter_errors(value)
    return [f"{each.json_path}: {each.message}" for each in found]


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("operation", TABLE, ids=lambda each: each.name)
def test_example_of_operation_meets_its_schema(operation: Operation[Any, Any]) -> None:
    name = f"bridge/request/{operation.name}"
    assert errors(name, {**operation.example, "transaction": 7}) == []
    assert errors(name, {**operation.example, "no_such_field": 7})


def _frames() -> list[Any]:
    text = "\n".join(
        (ROOT / each).read_text() for each in ("README.md", "docs/how-to/send-frames.md")
    )
    found = [json.loads(code) for code in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    return [each for each in found if "frame_data" in each]


@pytest.mark.parametrize("frame", _frames())
def test_frame_of_the_documentation_meets_its_schema(frame: dict[str, Any]) -> None:
    assert errors("frame", frame) == []


@pytest.mark.parametrize(
    "said",
    [
        {"priority": "immediate"},
        {"priority": 3},
        {"priority": "urgent"},
        {"motion_intensity": 0.5},
        {"motion_intensity": 1.5},
        {"tasks": ["caption", {"query": "Is it?"}, {"point": "face"}]},
        {"tasks": [{"choose": {"question": "Is it?", "choices": ["yes", "no"]}}]},
        {"tasks": [{"choose": {"question": "Is it?", "choices": ["yes"]}}]},
        {"tasks": []},
        {"tasks": [{"kind": "caption"}]},
        {"tasks": [{"query": "a", "detect": "b"}]},
        {"length": "short"},
        {"length": "tiny"},
        {"camera_id": "a/b"},
        {"colour": "red"},
        {"metadata": {"a": [1]}},
    ],
)
def test_schema_of_frame_says_what_the_service_does(said: dict[str, Any]) -> None:
    frame = {"frame_data": "/9j/", **said}
    try:
        MotionFrame.model_validate(frame)
    except ValidationError:
        assert errors("frame", frame)
    else:
        assert errors("frame", frame) == []


def test_document_meets_its_schema() -> None:
    settings = CameraSettings.model_validate({"tasks": ["caption", {"detect": "person"}]})
    assert errors("settings", settings.model_dump(mode="json")) == []


def test_every_json_topic_has_a_schema() -> None:
    names = {spec.name for spec in TOPICS if spec.schema is not None}
    requests = {f"bridge/{kind}/{each.name}" for kind in ("request", "response") for each in TABLE}
    assert SCHEMAS.keys() == names - {"bridge/request", "bridge/response"} | requests


def test_asyncapi_document_is_valid() -> None:
    AsyncAPI3.model_validate(document())


def test_asyncapi_validator_knows_a_mistake() -> None:
    wrong = document()
    wrong["operations"]["frame"]["action"] = "get"
    with pytest.raises(ValidationError, match="operations"):
        AsyncAPI3.model_validate(wrong)


def test_references_of_the_asyncapi_document_lead_somewhere() -> None:
    whole = yaml.safe_load((ROOT / "docs/asyncapi.yaml").read_text())
    references = list(_references(whole))
    assert len(references) > len(TOPICS) + 4 * len(TABLE)
    for reference in references:
        if reference.startswith("#/"):
            kind, name = reference.removeprefix("#/").split("/")
            assert name in whole[kind], reference
        else:
            assert (ROOT / "docs" / reference).is_file(), reference


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        here = [value["$ref"]] if "$ref" in value else []
        return here + [each for inner in value.values() for each in _references(inner)]
    if isinstance(value, list):
        return [each for inner in value for each in _references(inner)]
    return []
