import pytest

from broker.topics import Topics
from service.homeassistant.device import object_id, slug, unique_slugs


def slugs(*texts: str) -> dict[str, str]:
    return unique_slugs(list(texts), lambda _: False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("person", "person"),
        ("Rotes  Auto!", "rotes_auto"),
        ("Müll & Größe", "muell_groesse"),
        ("_café-1_", "cafe_1"),
        ("人", ""),
    ],
)
def test_slug_holds_what_an_entity_id_may(text: str, expected: str) -> None:
    assert slug(text) == expected


def test_unique_slugs_of_equal_slugs_differ() -> None:
    found = slugs("person", "Person", "per son", "per_son", "人", "🚗")
    assert len(set(found.values())) == 6
    assert all(found.values())


def test_unique_slugs_do_not_depend_on_order() -> None:
    texts = ["person", "Person", "人", "x" * 300]
    assert slugs(*texts) == slugs(*reversed(texts))


def test_unique_slug_of_a_text_stays_when_one_like_it_is_added() -> None:
    assert slugs("person")["person"] == slugs("Person", "person", "PERSON")["person"]


def test_unique_slugs_of_the_same_text_are_one() -> None:
    assert slugs("person", "person") == {"person": "person"}


def test_unique_slug_of_a_long_text_is_short_and_its_own() -> None:
    long, longer = "x" * 2000, "x" * 2001
    found = slugs(long, longer)
    assert found[long] != found[longer]
    assert all(len(each) < 50 for each in found.values())


def test_unique_slug_that_is_ambiguous_gets_a_hash() -> None:
    found = unique_slugs(["caption"], {"caption"}.__contains__)
    assert found["caption"].startswith("caption_")


def test_object_id_of_the_usual_base_is_plain() -> None:
    assert object_id(Topics("moondream2mqtt"), "front_door") == "moondream2mqtt_front_door"


def test_object_ids_of_bases_that_look_alike_differ() -> None:
    bases = [
        "home/moondream",
        "home_moondream",
        "home moondream",
        "höme/moondream",
        "Moondream2mqtt",
    ]
    found = {object_id(Topics(base), "front") for base in bases}
    assert len(found) == len(bases)
    assert all(each.isascii() and each.replace("_", "").isalnum() for each in found)
