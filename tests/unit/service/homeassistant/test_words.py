import pytest

from service.homeassistant.words import Words
from tests.support.discovery import all_devices


def names(language: str) -> set[object]:
    devices = all_devices(language="de" if language == "de" else "en")
    return {each["name"] for device in devices for each in device.components.values()}


def test_every_entity_has_a_name_in_german() -> None:
    proper = {"Problem", "Version", "GPU 0", "Prompt"}
    same = names("en") & names("de") - proper
    assert same == set()


@pytest.mark.parametrize("language", ["en", "de"])
def test_names_within_a_device_differ(language: str) -> None:
    for device in all_devices(language="de" if language == "de" else "en"):
        found = [each["name"] for each in device.components.values()]
        assert len(found) == len(set(found))


def test_braces_of_a_label_are_no_places() -> None:
    assert Words("en").name("count", label="{x} {}") == "Count of {x} {}"
