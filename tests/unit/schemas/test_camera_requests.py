"""What a request may say of a camera's settings."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from broker.codec import PayloadError, validate
from schemas.camera import CameraSettings
from schemas.requests.cameras import SETTINGS, CameraChange, changes_of

_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)
_TASK = st.one_of(
    st.just("caption"),
    st.dictionaries(st.sampled_from(["query", "detect", "point", "kind"]), _TEXT, max_size=2),
)
_VALUE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    _TEXT,
    st.sampled_from(["high", "immediate", "short"]),
    st.lists(_TASK, max_size=3),
    st.dictionaries(_TEXT, _TEXT, max_size=3),
)


@given(st.dictionaries(st.sampled_from(SETTINGS), _VALUE))
def test_what_is_accepted_is_read_back_as_it_was_after_a_restart(content: dict[str, Any]) -> None:
    try:
        change = validate(CameraChange, {"camera_id": "front", **content})
    except PayloadError as error:
        assert any(name in str(error) for name in content)
        return
    changes = changes_of(change)
    assert changes.keys() == content.keys()
    said = {name: value for name, value in changes.items() if value is not None}
    effective = CameraSettings.model_validate(said)
    stored = json.loads(json.dumps(said))
    assert CameraSettings.model_validate(stored) == effective
    assert CameraSettings.model_validate_json(effective.model_dump_json()) == effective


def test_every_setting_can_be_changed_and_taken_back() -> None:
    change = validate(CameraChange, {"camera_id": "front", **dict.fromkeys(SETTINGS)})
    assert changes_of(change) == dict.fromkeys(CameraSettings.model_fields)
