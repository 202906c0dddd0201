"""Which camera a topic means."""

from typing import Any

import pytest

from broker.topics import Topics
from service.settings import SourceSettings
from service.sources.names import Names
from service.sources.routes import Route, Routes


def made(*sources: dict[str, Any]) -> Routes:
    settings = [SourceSettings.model_validate(each) for each in sources]
    return Routes(Topics("base"), settings, Names(lambda _: None))


def found(routes: Routes, topic: str) -> tuple[str, str | None]:
    route = routes.find(topic)
    assert isinstance(route, Route)
    return route.camera_id, route.camera_name


def test_own_topic_is_not_foreign() -> None:
    route = made({"topic": "+/{camera}/frame"}).find("base/front/frame")
    assert route is not None
    assert (route.camera_id, route.foreign, route.camera_name) == ("front", None, None)


def test_foreign_name_becomes_an_id_and_is_kept() -> None:
    routes = made({"topic": "nvr/{camera}/jpg", "cameras": {"4K01": "garden"}})
    assert found(routes, "nvr/Front Door/jpg") == ("Front_Door", "Front Door")
    assert found(routes, "nvr/4K01/jpg") == ("garden", None)
    assert routes.find("nvr//jpg") is None


def test_two_sources_share_the_names() -> None:
    routes = made({"topic": "a/{camera}/jpg"}, {"topic": "b/{camera}/jpg"})
    assert found(routes, "a/Front Door/jpg") == found(routes, "b/Front Door/jpg")
    assert found(routes, "b/Front.Door/jpg")[0] != "Front_Door"


@pytest.mark.parametrize("topic", ["yicam/motion_detection_image", "yicam/+", "yicam/#"])
def test_source_with_a_camera_means_it_wherever_the_topic_matches(topic: str) -> None:
    routes = made({"topic": topic, "camera": "porch"})
    assert routes.subscriptions[1].topic_filter == topic
    assert found(routes, "yicam/motion_detection_image") == ("porch", None)
    assert routes.find("other/motion_detection_image") is None


def test_attributes_are_of_the_camera_that_the_pictures_are_of() -> None:
    routes = made(
        {"topic": "ring/{camera}/image", "attributes": "ring/{camera}/attributes"},
        {"topic": "yicam/image", "attributes": "yicam/said", "camera": "porch"},
    )
    assert routes.attributes_of("ring/Front Door/attributes") == "Front_Door"
    assert routes.attributes_of("yicam/said") == "porch"
    assert routes.attributes_of("ring/Front Door/image") is None
    route = routes.find("ring/Front Door/image")
    assert route is not None
    assert route.has_attributes
    filters = [each.topic_filter for each in routes.subscriptions]
    assert filters == [
        "base/+/frame",
        "ring/+/image",
        "yicam/image",
        "ring/+/attributes",
        "yicam/said",
    ]
