"""The order in which discovery changes leaves no orphan, wherever it is broken off."""

import json

import pytest

from service.homeassistant.plan import MIGRATE, Change, changes, components_of

PREFIX = "homeassistant"
DEVICE = f"{PREFIX}/device/base_front/config"


def one(topic_prefix: str = PREFIX, **platforms: str) -> dict[str, bytes]:
    """The device form."""
    content = {"cmps": {key: {"p": platform, "x": 1} for key, platform in platforms.items()}}
    return {f"{topic_prefix}/device/base_front/config": json.dumps(content).encode()}


def many(topic_prefix: str = PREFIX, **platforms: str) -> dict[str, bytes]:
    """The component form."""
    return {
        f"{topic_prefix}/{platform}/base_front/{key}/config": json.dumps({"k": key}).encode()
        for key, platform in platforms.items()
    }


CAPTION, IMAGE = (*many(caption="sensor"), *many(image="image"))
BOTH = {"caption": "sensor", "image": "image"}


def said(steps: list[Change]) -> list[tuple[str, bytes]]:
    return [(step.topic, step.payload) for step in steps]


def after(published: dict[str, bytes], steps: list[Change]) -> dict[str, bytes]:
    """What is published once these have been."""
    found = dict(published)
    for step in steps:
        assert step.before == published.get(step.topic) or step.topic in found
        found[step.topic] = step.payload
    return {topic: payload for topic, payload in found.items() if payload}


def test_nothing_is_published_again() -> None:
    assert changes(one(**BOTH), one(**BOTH)) == []
    assert changes({}, {}) == []


def test_what_changed_is_published_and_what_is_gone_is_cleared() -> None:
    assert said(changes({}, one(**BOTH))) == list(one(**BOTH).items())
    assert said(changes(one(**BOTH), {})) == [(DEVICE, b"")]
    assert said(changes(many(**BOTH), many(caption="sensor"))) == [(IMAGE, b"")]


def test_other_prefix_takes_over_nothing() -> None:
    steps = changes(one(**BOTH), one("ha", **BOTH))
    assert said(steps) == [*one("ha", **BOTH).items(), (DEVICE, b"")]


def test_components_become_a_device() -> None:
    steps = changes(many(**BOTH, prompt="text"), one(**BOTH))
    [prompt] = many(prompt="text")
    assert said(steps) == [
        (CAPTION, MIGRATE),
        (IMAGE, MIGRATE),
        *one(**BOTH).items(),
        (CAPTION, b""),
        (IMAGE, b""),
        (prompt, b""),
    ]


def test_device_becomes_components_and_what_does_not_go_on_is_removed_before() -> None:
    wanted = many(caption="sensor")
    removed, *steps = changes(one(**BOTH), wanted)
    assert (removed.topic, components_of(removed.payload)) == (DEVICE, BOTH)
    assert json.loads(removed.payload)["cmps"]["image"] == {"p": "image"}
    assert said(steps) == [(DEVICE, MIGRATE), *wanted.items(), (DEVICE, b"")]


@pytest.mark.parametrize(
    ("published", "wanted"),
    [
        (many(**BOTH, prompt="text"), one(**BOTH)),
        (one(**BOTH, prompt="text"), many(**BOTH)),
        (one(**BOTH), one("ha", **BOTH)),
        (many(**BOTH), {}),
    ],
)
def test_plan_that_is_broken_off_is_gone_on_with(
    published: dict[str, bytes], wanted: dict[str, bytes]
) -> None:
    whole = changes(published, wanted)
    for num_done in range(len(whole) + 1):
        between = after(published, whole[:num_done])
        rest = changes(between, wanted)
        assert after(between, rest) == wanted
        done = said(whole[:num_done])
        assert [each for each in said(rest) if each not in done] == said(whole)[num_done:]
        for topic in wanted:  # who is to take over comes after all who let go
            if (topic, wanted[topic]) in done:
                assert (DEVICE, MIGRATE) not in said(rest)


@pytest.mark.parametrize(
    "damaged", [b"", b"\xff", b"[]", b"[" * 100_000, b'{"cmps": 5}', b'{"cmps": {"a": {"p": 5}}}']
)
def test_damaged_row_is_replaced_or_cleared(damaged: bytes) -> None:
    assert components_of(damaged) == {}
    assert said(changes({DEVICE: damaged}, one(**BOTH))) == list(one(**BOTH).items())
    steps = said(changes({DEVICE: damaged}, many(**BOTH)))
    assert steps[-3:] == [*many(**BOTH).items(), (DEVICE, b"")]
    assert said(changes({"x": damaged}, {})) == [("x", b"")]
