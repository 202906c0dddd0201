"""Schemas are filled with what was answered, and the answer is valid whatever was."""

import json
import time
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.filling.form import ANY_JSON, Form
from gateway.filling.sheet import Task
from gateway.problems import Problem
from schemas.frame import MAX_TASKS, FrameOptions, Priority
from schemas.result import Answer, DetectedObjects, ModelInfo, Result
from tests.unit.gateway.filling.schemas import FRIGATE_REVIEW, schemas

MODEL = ModelInfo(
    model="m",
    revision="r",
    device="cpu",
    camera_id="http",
    motion_intensity=0.0,
    priority=Priority.HIGH,
)


def result_of(tasks: list[Task], said: dict[str, Any] | None = None, other: str = "") -> Result:
    """A result in which each question has the answer that one of its words has in `said`."""
    said = said or {}

    def find(text: str) -> Any:
        return next((value for word, value in said.items() if word in text), other)

    answers, objects = [], []
    for task in tasks:
        if isinstance(task, str):
            continue
        [(kind, content)] = task.items()
        if kind == "query":
            answers.append(Answer(question=content, answer=find(content), confidence=0.8))
        elif kind == "detect":
            number = find(content) if isinstance(find(content), int) else 3
            objects.append(DetectedObjects(label=content, count=number, boxes=()))
        else:
            best = find(content["question"])
            best = best if best in content["choices"] else content["choices"][-1]
            shares = {each: float(each == best) for each in content["choices"]}
            answers.append(
                Answer(
                    question=content["question"], answer=best, confidence=1.0, probabilities=shares
                )
            )
    caption = said.get("caption", other)
    return Result(
        caption=caption,
        short_caption=caption,
        confidence=0.75,
        answers=tuple(answers),
        objects=tuple(objects),
        processing_time=0.0,
        queue_time=0.0,
        model_info=MODEL,
    )


def fill(schema: Any, said: dict[str, Any], question: str = "", other: str = "") -> Any:
    form = Form.of(schema, question)
    filled = form.filled(result_of(form.tasks, said, other))
    jsonschema.validate(filled, schema)
    return filled


def one(schema: dict[str, Any], name: str = "value") -> dict[str, Any]:
    return {"type": "object", "properties": {name: schema}, "required": [name]}


TEXTS = st.one_of(
    st.sampled_from(
        ["", "None", "Two cars, a dog and a cat", "yes", "85%", "1e999", "-3.5 or 7", "a\n- b\n- c"]
    ),
    st.text(max_size=300),
)


@given(schema=schemas(), question=st.text(max_size=400), said=TEXTS, caption=TEXTS)
def test_any_answer_is_valid(schema: Any, question: str, said: str, caption: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    form = Form.of(schema, question)
    assert len(form.tasks) <= MAX_TASKS
    if form.tasks:
        FrameOptions.model_validate(form.fields())

    answered = form.filled(result_of(form.tasks, {"caption": caption}, said if said else "1"))
    for filled in (form.filled(None), answered):
        assert json.loads(json.dumps(filled, allow_nan=False)) == filled
        jsonschema.validate(filled, schema)


def test_a_boolean_is_chosen() -> None:
    schema = one({"type": "boolean", "description": "Whether the gate is open"}, "open")

    assert Form.of(schema, "").tasks == [
        {"choose": {"question": "Is it true that the gate is open?", "choices": ["Yes", "No"]}}
    ]
    assert fill(schema, {"gate": "Yes"}) == {"open": True}
    assert fill(schema, {"gate": "No"}) == {"open": False}


def test_an_enumeration_is_chosen() -> None:
    schema = one({"enum": ["red", "blue", None]}, "colour")

    assert fill(schema, {"colour": "blue"}) == {"colour": "blue"}
    assert fill(schema, {"colour": "none"}) == {"colour": None}
    assert fill(one({"enum": ["+", "-"]}, "sign"), {"sign": "-"}) == {"sign": "-"}


def test_a_long_enumeration_is_looked_for_in_the_answer() -> None:
    names = [f"kind {n}" for n in range(30)]

    assert fill(one({"enum": names}), {}, other="It is Kind 12.") == {"value": "kind 12"}
    assert fill(one({"enum": names}), {}, other="No idea.") == {"value": "kind 0"}
    assert fill(one({"enum": [*names, "kind 12 b"]}), {}, other="kind 12 b!") == {
        "value": "kind 12 b"
    }


@pytest.mark.parametrize(
    ("name", "description", "label"),
    [
        ("count_cars", "", "car"),
        ("person_count", "", "person"),
        ("numberOfDogs", "", "dog"),
        ("cars", "How many cars are in the driveway?", "car"),
        ("n", "The number of people visible", "person"),
        ("parcels", "Number of delivery boxes", "delivery box"),
    ],
)
def test_a_count_is_counted(name: str, description: str, label: str) -> None:
    schema = one({"type": "number", "description": description}, name)

    assert Form.of(schema, "").tasks == [{"detect": label}]
    assert fill(schema, {label: 3}) == {name: 3}


@pytest.mark.parametrize(
    ("bounds", "said", "value"),
    [
        ({"type": "number"}, "About 3.5 metres", 3.5),
        ({"type": "integer"}, "There are three.", 3),
        ({"type": "integer"}, "There are no cars.", 0),
        ({"type": "integer", "maximum": 10}, "500", 10),
        ({"type": "integer", "exclusiveMinimum": 0}, "none", 1),
        ({"type": "number", "minimum": 0, "maximum": 1}, "85%", 0.85),
        ({"type": "integer", "multipleOf": 5}, "13", 15),
        ({"type": ["integer", "null"]}, "I cannot tell.", None),
        ({"type": "integer", "default": 7}, "I cannot tell.", 7),
    ],
)
def test_a_number_is_read_and_clamped(bounds: dict[str, Any], said: str, value: Any) -> None:
    assert fill(one(bounds), {}, other=said) == {"value": value}


def test_confidence_is_the_models_own() -> None:
    share = one({"type": "number", "minimum": 0, "maximum": 1}, "confidence")
    percent = one({"type": "integer", "minimum": 0, "maximum": 100}, "confidence")

    assert fill(share, {}) == {"confidence": 0.75}
    assert fill(percent, {}) == {"confidence": 75}


def test_a_list_is_split() -> None:
    schema = one({"type": "array", "items": {"type": "string"}}, "objects")

    assert fill(schema, {"objects": "A car, two dogs and a bin."}) == {
        "objects": ["A car", "two dogs", "a bin"]
    }
    assert fill(schema, {"objects": "1. A car\n2. A dog"}) == {"objects": ["A car", "A dog"]}
    assert fill(schema, {"objects": "None."}) == {"objects": []}


def test_of_a_list_of_known_values_each_is_asked() -> None:
    schema = one({"type": "array", "items": {"enum": ["dog", "cat", "car"]}}, "seen")

    assert fill(schema, {": dog": "Yes", ": car": "Yes"}) == {"seen": ["dog", "car"]}


def test_nested_objects_references_and_alternatives() -> None:
    schema = {
        "$defs": {
            "Car": {
                "type": "object",
                "properties": {"colour": {"type": "string"}, "next": {"$ref": "#/$defs/Car"}},
                "required": ["colour"],
                "additionalProperties": False,
            }
        },
        "type": "object",
        "properties": {
            "car": {"anyOf": [{"$ref": "#/$defs/Car"}, {"type": "null"}]},
            "owner": {"allOf": [{"$ref": "#/$defs/Car"}], "description": "Whose"},
        },
        "required": ["car"],
    }

    filled = fill(schema, {"colour": "Red"})

    assert filled["car"]["colour"] == "Red"
    assert len(json.dumps(filled)) < 1000  # a car in a car ends somewhere


def test_a_title_is_never_empty() -> None:
    schema = one({"type": "string", "maxLength": 30}, "title")

    assert fill(schema, {"caption": ""}) == {"title": "Event detected"}
    said = "The image shows a man with a parcel at the front door of a house."
    assert fill(schema, {"caption": said}) == {"title": "A man with a parcel"}


def test_frigates_review_has_its_few_questions_and_lengths() -> None:
    said = {
        "caption": "A man in a red coat walks up the drive. He carries a parcel.",
        "observations": "A man walks up the drive. He carries a large parcel.",
        "threat": "suspicious",
        "concerns": "None",
    }

    filled = fill(FRIGATE_REVIEW, said, "Your task is to analyze " + "x" * 5000)

    assert filled["title"] == "A man in a red coat"
    assert filled["scene"].startswith(said["caption"])
    assert filled["potential_threat_level"] == 1
    assert filled["other_concerns"] is None
    assert filled["confidence"] == 0.75
    assert filled["observations"][:2] == ["A man walks up the drive.", "He carries a large parcel."]


def test_what_is_beyond_the_most_tasks_gets_a_default(caplog: pytest.LogCaptureFixture) -> None:
    names = [f"thing_{n:02}" for n in range(MAX_TASKS + 3)]
    schema = {"type": "object", "properties": {name: {"type": "boolean"} for name in names}}

    filled = fill(schema, {"?": "Yes"})

    assert list(filled.values()) == [True] * MAX_TASKS + [False] * 3
    assert "thing_16, thing_17, thing_18" in caplog.text


def test_the_users_question_stands_before_what_says_nothing_itself() -> None:
    schema = one({"type": "boolean"}, "is_full")

    [task] = Form.of(schema, "Look at the bin.").tasks

    assert task == {"choose": {"question": "Look at the bin. Is full?", "choices": ["Yes", "No"]}}


def test_json_without_a_schema_has_title_and_description() -> None:
    filled = fill(ANY_JSON, {"caption": "A dog sleeps."})

    assert filled == {"title": "A dog sleeps", "description": "A dog sleeps."}


@pytest.mark.parametrize(
    "schema",
    [
        one({"type": "integer"}, "count_" + "x" * 1_000_000),
        one({"type": "integer", "description": "How many " + "x y " * 300_000}),
        one({"type": "boolean", "description": "w" * 1_000_000}, "x" * 1_000_000),
        one({"type": "integer", "description": "1 = a, " * 100_000}),
        one({"enum": [str(n) for n in range(30_000)]}),
        one({"type": "array", "items": {"enum": ["x" * 100_000, *map(str, range(30_000))]}}),
        one({"anyOf": [{"enum": []}] * 4000 + [{"type": "null"}]}),
        {"type": "object", "properties": {"n": {"type": "number", "default": "many"}}},
    ],
)
def test_a_large_schema_costs_little(schema: Any) -> None:
    began = time.perf_counter()
    form = Form.of(schema, "x" * 1_000_000)
    form.filled(None)

    assert time.perf_counter() - began < 1
    if form.tasks:
        FrameOptions.model_validate(form.fields())


def doubled(levels: int) -> dict[str, Any]:
    """2 ** levels parts in a few hundred bytes."""
    made: dict[str, Any] = {
        str(n): {"allOf": [{"$ref": f"#/$defs/{n + 1}"}, {"$ref": f"#/$defs/{n + 1}"}]}
        for n in range(levels)
    }
    return {"$defs": {**made, str(levels): {}}, "$ref": "#/$defs/0"}


def test_what_would_be_too_large_is_null_where_it_may_be() -> None:
    texts = {"minLength": 9999, "type": ["string", "null"]}
    schema = {
        "type": "object",
        "properties": {
            "texts": {"type": "array", "minItems": 1000, "items": texts},
            "wet": {"type": "boolean"},
        },
    }

    assert fill(schema, {"Wet": "Yes"}) == {"texts": [None] * 1000, "wet": True}


def nested_lists(levels: int) -> dict[str, Any]:
    """1000 ** levels items."""
    if levels == 0:
        return {"type": "boolean"}
    return {"type": "array", "minItems": 1000, "items": nested_lists(levels - 1)}


@pytest.mark.parametrize(
    "schema",
    [
        nested_lists(4),
        {"type": "array", "minItems": 1000, "items": {"type": "string", "minLength": 9999}},
        "text",
        None,
        False,
        [],
        {"type": "strange"},
        {"type": 5},
        {"type": []},
        {"enum": []},
        {"enum": 5},
        {"$ref": "http://elsewhere/schema"},
        {"$ref": "#/nothing"},
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#"}]},
        {"anyOf": 5},
        {"anyOf": []},
        {"allOf": [5]},
        doubled(30),
        one({"type": "string", "minLength": 10**9}),
        one({"type": "string", "minLength": 5, "maxLength": 4}),
        one({"type": "string", "pattern": "^(a+)+$"}),
        one({"type": "array", "minItems": 10**9}),
        one({"type": "integer", "minimum": 0.2, "maximum": 0.8}),
        one({"type": "number", "minimum": "low"}),
        one({"type": "number", "minimum": 10**400}),
        one({"type": "number", "multipleOf": 0}),
        one({"not": {}}),
        {"type": "object", "properties": 5},
        {"type": "object", "required": [5]},
        {"type": "object", "required": ["x"], "additionalProperties": False},
        {"type": "object", "properties": {str(n): {"const": n} for n in range(501)}},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    ],
)
def test_a_schema_that_cannot_be_filled_is_refused_with_a_sentence(schema: Any) -> None:
    with pytest.raises(Problem) as caught:
        Form.of(schema, "")

    assert caught.value.status == 400
    assert caught.value.param == "response_format"
    assert "schema, " in str(caught.value)


def test_the_same_question_with_other_choices_is_asked_twice() -> None:
    colours = {"top": ["red", "blue"], "shoes": ["black", "white"]}
    schema = {
        "type": "object",
        "properties": {name: one({"enum": values}, "colour") for name, values in colours.items()},
    }

    filled = fill(schema, {}, other="black")

    assert len(Form.of(schema, "").tasks) == 2
    assert filled["shoes"] == {"colour": "black"}


def test_a_result_of_other_questions_fills_nothing() -> None:
    """An id that a client uses twice leads to the job that was there first."""
    schema = {
        "type": "object",
        "properties": {"count_cars": {"type": "integer"}, "wet": {"type": "boolean"}},
    }
    other = result_of([{"detect": "dog"}, {"query": "Why?"}, {"query": "Who?"}], other="Yes")
    nothing = result_of([])

    for result in (other, nothing):
        assert Form.of(schema, "").filled(result) == {"count_cars": 0, "wet": False}
