"""What Frigate says over MQTT and HTTP, in the shapes of 0.16 to 0.18, with made-up values."""

import json
from typing import Any

EVENT_ID = "1700000000.123456-abc123"
REVIEW_ID = "1700000001.5-rev123"
DETECT = (1280, 720)


def tracked_object(event_id: str = EVENT_ID, **fields: Any) -> dict[str, Any]:
    """`before` or `after` of a message on `events`."""
    return {
        "id": event_id,
        "camera": "front_door",
        "frame_time": 1700000005.0,
        "snapshot": {
            "frame_time": 1700000004.0,
            "box": [320, 180, 640, 540],
            "area": 115200,
            "region": [200, 100, 700, 600],
            "score": 0.8,
            "attributes": [],
        },
        "snapshot_clean": True,
        "label": "person",
        "sub_label": None,
        "top_score": 0.85,
        "false_positive": False,
        "start_time": 1700000000.1,
        "end_time": None,
        "score": 0.8,
        "box": [330, 180, 650, 540],
        "stationary": False,
        "current_zones": [],
        "entered_zones": ["porch"],
        "has_clip": False,
        "has_snapshot": False,
        "max_severity": None,
        "path_data": [[[0.5, 0.5], 1700000002.0]],
        "recognized_license_plate": None,
        **fields,
    }


def event_message(kind: str = "update", event_id: str = EVENT_ID, **fields: Any) -> dict[str, Any]:
    """A message on `events`; `end` has an end, unless the fields say otherwise."""
    if kind == "end":
        fields = {"end_time": 1700000010.0, "has_snapshot": True, "has_clip": True, **fields}
    after = tracked_object(event_id, **fields)
    return {"before": tracked_object(event_id), "after": after, "type": kind}


def review_message(kind: str = "update", **fields: Any) -> dict[str, Any]:
    """A message on `reviews`."""
    after = {
        "id": REVIEW_ID,
        "camera": "front_door",
        "start_time": 1700000000.0,
        "end_time": 1700000012.0 if kind in {"end", "genai"} else None,
        "severity": "alert",
        "thumb_path": "/media/frigate/clips/review/thumb.webp",
        "data": {
            "detections": [EVENT_ID],
            "objects": ["person-verified"],
            "verified_objects": ["person-verified"],
            "sub_labels": ["Ada"],
            "zones": ["porch"],
            "audio": [],
            "thumb_time": 1700000004.5,
            "metadata": None,
        },
        **fields,
    }
    return {"type": kind, "before": after, "after": after}


def stored_event(event_id: str = EVENT_ID, **fields: Any) -> dict[str, Any]:
    """`GET /api/events/{id}`."""
    return {
        "id": event_id,
        "label": "person",
        "sub_label": None,
        "camera": "front_door",
        "start_time": 1700000000.1,
        "end_time": 1700000010.0,
        "false_positive": None,
        "zones": ["porch"],
        "has_clip": True,
        "has_snapshot": True,
        "top_score": None,
        "data": {
            "box": [0.25, 0.25, 0.25, 0.5],
            "score": 0.8,
            "top_score": 0.85,
            "type": "object",
            "max_severity": "alert",
        },
        **fields,
    }


def as_json(content: object) -> bytes:
    return json.dumps(content).encode()
