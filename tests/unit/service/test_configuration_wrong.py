"""Every setting with a wrong value, in the file and in the environment: one line that says where.

The settings are found by introspection, so that a new one is tried as well.
"""

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.configuration import load_settings
from service.errors import ConfigurationError
from tests.support.setting_bounds import CAMERA, content_of, every_leaf

#: Not one of them is a value of any setting; what is a mapping is tried with lists.
WRONG: tuple[Any, ...] = (
    {"no": {"such": "key"}},
    [[1]],
    [None],
    [{"a": [{}]}],
    1.5e308,
    -1,
    float("nan"),
    float("-inf"),
    10**400,
    "\0",
    "\ufffe",
    "x" * 20_000,
    "",
    None,
    True,
)
#: Wrong for whatever is not a mapping, a list or both.
MAPPING, LIST = WRONG[0], WRONG[1]
LEAVES = [path for path, _ in every_leaf()]


def message_of(path: Path | None) -> str | None:
    """What is said of the settings; None: they are taken."""
    try:
        load_settings(path)
    except ConfigurationError as error:
        return str(error)
    return None


def is_one_line(message: str) -> bool:
    return "\n" not in message and len(message) < 2000


@pytest.mark.parametrize("leaf", LEAVES)
def test_wrong_value_in_the_file_is_one_line_with_the_file_and_the_setting(
    tmp_path: Path, leaf: str
) -> None:
    file = tmp_path / "config.yaml"
    dotted = leaf.replace("<id>", CAMERA).replace("[]", ".0")
    refused = []
    for value in WRONG:
        file.write_text(yaml.safe_dump(content_of(leaf, value)), encoding="utf-8")
        message = message_of(file)
        if message is None:
            continue
        refused.append(value)
        assert is_one_line(message)
        assert message.startswith(f"{file}: ")
        if value is MAPPING or value is LIST:
            assert dotted in message
    assert MAPPING in refused or LIST in refused


#: What holds settings: sections, lists of them, and each one of a list.
ABOVE = sorted({leaf[:at] for leaf in LEAVES for at, sign in enumerate(leaf) if sign in ".["})
ABOVE += [each for each in ("sources[]", "triggers[]", "folders[]") if each not in ABOVE]


@pytest.mark.parametrize("place", ABOVE)
def test_wrong_value_in_place_of_a_section_is_one_line(tmp_path: Path, place: str) -> None:
    file = tmp_path / "config.yaml"
    for value in ([[1]], 5, "text", True, [5], {"no": 1}, {1: {2: 3}}, None, [None], float("nan")):
        content: Any = value
        for key in reversed(place.replace("<id>", CAMERA).split(".")):
            content = {key.removesuffix("[]"): [content] if key.endswith("[]") else content}
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        message = message_of(file)
        if message is None:  # a mapping by camera, by label, …
            assert isinstance(value, dict)
            continue
        assert is_one_line(message)
        first = place.partition("[]")[0]  # in one of a list, what it lacks may be said instead
        assert f"{file}: {first.replace('<id>', CAMERA)}" in message


@pytest.mark.parametrize("leaf", LEAVES)
def test_wrong_value_in_a_variable_is_one_line_with_the_variable_and_the_setting(
    leaf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = leaf.replace("<id>", CAMERA).split(".")
    # Below a list there are no variables: it is one, in JSON.
    name = (
        "MOONDREAM2MQTT__"
        + (keys[0].removesuffix("[]") if "[]" in leaf else "__".join(keys)).upper()
    )
    refused = 0
    for value in WRONG:
        content: Any = content_of(leaf, value)
        for key in [keys[0].removesuffix("[]")] if "[]" in leaf else keys:
            content = content[key]
        text = content if isinstance(content, str) else json.dumps(content)
        if "\0" in text:
            continue  # no environment holds it
        monkeypatch.setenv(name, text)
        message = message_of(None)
        if message is None:
            continue
        refused += 1
        assert is_one_line(message)
        assert message.startswith(f"{name}: ")
    assert refused


@pytest.mark.parametrize("leaf", [each for each in LEAVES if "[]" not in each])
def test_variable_below_a_setting_is_one_line(leaf: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "__".join(["MOONDREAM2MQTT", *leaf.replace("<id>", CAMERA).split("."), "X", "Y"]).upper()
    monkeypatch.setenv(name, "1")
    message = message_of(None)
    assert message is None or (is_one_line(message) and message.startswith(f"{name}: "))


#: What has to be looked at as a whole: text, and what is said.
FILES = {
    "cameras: {bridge: {}}": "cameras.bridge",
    "cameras: [1]": "cameras: must be a mapping",
    "mqtt: []": "mqtt: must be a mapping",
    "[mqtt]": "must be a mapping",
    "mqtt": "must be a mapping",
    "mqtt:\n\thost: a": "line 2, column 1: found character",
    "mqtt: {host: a}\nx: 1\nmqtt: {port: 1}": (
        "line 3, column 1: this key is there twice, first in line 1"
    ),
    "cameras:\n  1: {}\n  '1': {}": "line 3, column 3: this key is there twice, first in line 2",
    "a: &a {}\nb: &b {}\nc:\n  <<: *a\n  <<: *b": (
        "line 5, column 3: this key is there twice, first in line 4"
    ),
    "~: 1": "~: unknown setting",
    "mqtt: {1: 2}": "mqtt.1: unknown setting",
    "mqtt: {port: 1.0e+400}": "mqtt.port: Input should be a finite number",
    "queue: {max_age: .nan}": "queue.max_age: Input should be a finite number",
    "mqtt: {port: 0x" + "f" * 9999 + "}": "mqtt.port: Input should be less than",
    "queue: {max_age: 1" + ":1" * 3000 + ".5}": "line 1, column 18: this value cannot be read",
    'mqtt: {host: "\\UFFFFFFFF"}': "has an escaped character that is none",
    'mqtt: {host: "\\ud800"}': "mqtt.host: ",
    'mqtt: {host: "\\x00"}': "mqtt.host: must not contain control characters",
    "mqtt: !!map [a]": "line 1, column 7: expected a mapping node",
    "mqtt: {port: !!int [1]}": "line 1, column 14: expected a scalar node",
    "- " * 20_000: "is nested too deep",
    "mqtt: 1\n---\nmqtt: 1": "line 2, column 1: but found another document",
    "a: &a {<<: *a}": "a: unknown setting",
}


@pytest.mark.parametrize("text", FILES, ids=range(len(FILES)))
def test_file_that_is_wrong_as_a_whole_is_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text, encoding="utf-8")
    message = message_of(file)
    assert message is not None
    assert is_one_line(message)
    assert message.startswith(f"{file}: {FILES[text]}")


@pytest.mark.parametrize("kind", ["[{}]", "{{<<: [{}]}}"])
def test_aliases_of_aliases_cost_no_time(tmp_path: Path, kind: str) -> None:
    """Ten times ten, nine times: a thousand million of nothing."""
    first = "{x: 1}" if "<<" in kind else "[x]"
    lines = [f"a0: &a0 {first}"]
    lines += [
        f"a{each}: &a{each} {kind.format(', '.join([f'*a{each - 1}'] * 10))}"
        for each in range(1, 10)
    ]
    file = tmp_path / "config.yaml"
    for text in (
        "\n".join(lines),
        "cameras:\n  front:\n" + "\n".join(f"    {each}" for each in lines),
        "\n".join([*lines, "cameras: {front: *a9}", "model: {device: *a9}", "webhooks: *a9"]),
    ):
        file.write_text(text)
        before = time.process_time()
        message = message_of(file)
        assert time.process_time() - before < 1
        assert message is not None
        assert is_one_line(message)


def test_what_several_said_together_names_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("homeassistant: {enabled: true}")
    monkeypatch.setenv("MOONDREAM2MQTT__HOMEASSISTANT__CHECK_UPDATES", "true")
    says = "homeassistant: check_updates needs updates_url"
    name = "MOONDREAM2MQTT__HOMEASSISTANT__CHECK_UPDATES"
    assert message_of(file) == f"{file} and {name}: {says}"
    assert message_of(None) == f"{name}: {says}"
    monkeypatch.setenv("MOONDREAM2MQTT__HOMEASSISTANT__ENABLED", "true")
    assert message_of(None) == f"the environment: {says}"


def test_anchor_below_that_was_merged_first_is_no_key_twice(tmp_path: Path) -> None:
    """PyYAML builds what is nearer to the root first, and merges what it names on the way."""
    file = tmp_path / "config.yaml"
    file.write_text(
        "cameras:\n"
        "  back: &base {cooldown: 1}\n"
        "  front: {webhook_headers: {}, watched: {}, <<: *base, cooldown: 5}\n"
        "deeper: {still: {here: &all {<<: *base, cooldown: 5}}}\n"
        "nearer: {<<: *all}\n"
    )
    message = message_of(file)
    assert message is not None
    assert "twice" not in message


def test_key_is_the_text_that_is_written(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("cameras:\n  1: {cooldown: 3}\n  on: {}\n  007: {}\n  2025-06-21: {}\n")
    assert list(load_settings(file).cameras) == ["1", "on", "007", "2025-06-21"]


def test_bytes_and_files_without_an_end_are_one_line(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    chance = random.Random(7)
    for size in (1, 10, 1000):
        for _ in range(20):
            file.write_bytes(chance.randbytes(size))
            message = message_of(file)
            assert message is None or (is_one_line(message) and message.startswith(str(file)))
    message = message_of(Path("/dev/zero"))
    assert message == "/dev/zero: is larger than 16 MiB"


def test_text_made_of_yamls_own_signs_is_one_line(tmp_path: Path) -> None:
    signs = ["mqtt", "port", ": ", "\n", "  ", "- ", "[", "]", "{", "}", ",", "&a ", "*a", "<<"]
    signs += ["!!int ", "!!map ", "!!str ", "? ", "|", ">", '"', "'", "#", "%", "---\n", "1", "~"]
    file = tmp_path / "config.yaml"
    chance = random.Random(7)
    for _ in range(400):
        file.write_text("".join(chance.choices(signs, k=chance.randint(1, 12))))
        message = message_of(file)
        assert message is None or (is_one_line(message) and message.startswith(str(file)))
