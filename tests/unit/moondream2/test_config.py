import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from moondream2.config import PUBLIC_REVISIONS, MoondreamConfig, public_config
from moondream2.errors import ModelFileError
from tests.support.checkpoints import FIXTURES, shape


def test_from_folder_own_format_reads_every_section() -> None:
    config = MoondreamConfig.from_folder(FIXTURES)
    data = json.loads((FIXTURES / "config.json").read_text())
    for section in ("text", "vision", "region", "tokens"):
        read = getattr(config, section)
        assert {key: getattr(read, key) for key in data[section]} == data[section]
    assert config.prompts.caption["long"] == (1, 469, 2, 85, 428, 3)
    assert config.prompts.query.prefix == (1, 334, 425, 2)
    assert config.prompts.query_suffix_repeats == 2
    assert config.tokenizer is None


def test_from_json_without_dimensions_is_the_public_model() -> None:
    config = MoondreamConfig.from_json({"architectures": ["HfMoondream"], "config": {}})
    assert config == public_config("2025-06-21")
    assert (config.text.layers, config.text.hidden_size) == (24, 2048)
    assert config.vision.tokens + 1 == config.text.prefix_length == 730
    assert config.prompts.query.prefix == (1, 15381, 2)


@pytest.mark.parametrize(
    ("revision", "expected"),
    [
        ("2025-06-21", (0, "log", "bfloat16", 0.5, 768, True, 2, False, True, 3)),
        ("2025-04-14", (50256, "log", "float16", 0.5, 768, False, 1, True, True, 3)),
        ("2025-03-27", (50256, "log", "float16", 0.0, 768, False, 1, True, True, 3)),
        ("2025-01-09", (50256, "linear", "float16", 0.0, 512, False, 1, False, False, 2)),
    ],
)
def test_public_config_of_each_release_has_its_rules(
    revision: str, expected: tuple[Any, ...]
) -> None:
    config = public_config(revision)
    release, prompts = config.release, config.prompts
    assert expected == (
        config.tokens.eos,
        config.region.size_mapping,
        release.pixel_dtype,
        release.temperature,
        release.max_tokens,
        release.suppression,
        prompts.query_suffix_repeats,
        prompts.query_leading_space,
        prompts.object_leading_space,
        len(prompts.caption),
    )
    assert release.word_streaming is (revision != "2025-01-09")
    assert revision in PUBLIC_REVISIONS


def test_public_config_of_unknown_release_lists_the_known() -> None:
    with pytest.raises(ModelFileError, match=r"2024-08-26.*2025-06-21"):
        public_config("2024-08-26")


@pytest.mark.parametrize(
    ("section", "changes", "named"),
    [
        ("text", {"layers": "three"}, "text.layers must be int"),
        ("text", {"layers": True}, "text.layers must be int"),
        ("text", {"layers": 0}, "text.layers must be positive"),
        ("text", {"hiden_size": 4}, "unknown key text.hiden_size"),
        ("text", {"kv_heads": 4}, "text.kv_heads"),
        ("text", {"rotary_dim": 10}, "text.rotary_dim"),
        ("text", {"prefix_length": 64}, "text.prefix_length"),
        ("vision", {"crop_size": 100}, "vision.crop_size"),
        ("vision", {"overlap_margin": 4}, "vision.overlap_margin"),
        ("vision", {"projector_out_size": 50}, "vision.projector_out_size"),
        ("region", {"size_mapping": "cubic"}, "region.size_mapping"),
        ("tokens", {"eos": 90}, "tokens.eos"),
        ("prompts", {"caption": {"short": [1, -2]}}, "prompts.caption.short"),
        ("prompts", {"query": {"prefix": [1]}}, "missing key prompts.query.suffix"),
        ("release", {"pixel_dtype": "int8"}, "release.pixel_dtype"),
    ],
)
def test_from_json_with_bad_value_names_the_key(
    section: str, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(ModelFileError, match=named):
        MoondreamConfig.from_json(shape(**{section: changes}))


@pytest.mark.parametrize("section", ["text", "vision", "region", "tokens", "prompts"])
def test_from_json_without_a_section_names_it(section: str) -> None:
    data = shape()
    del data[section]
    with pytest.raises(ModelFileError, match=f"missing key {section}"):
        MoondreamConfig.from_json(data)


@pytest.mark.parametrize("revision", PUBLIC_REVISIONS)
def test_from_json_of_a_written_config_is_equal(revision: str) -> None:
    config = replace(public_config(revision), tokenizer=None)
    assert MoondreamConfig.from_json(json.loads(json.dumps(asdict(config)))) == config


def test_from_json_with_whole_number_for_a_float_accepts_it() -> None:
    config = MoondreamConfig.from_json(shape(text={"rope_theta": 10000}))
    assert config.text.rope_theta == 10000.0


def test_from_folder_without_a_usable_file_says_which(tmp_path: Any) -> None:
    with pytest.raises(ModelFileError, match=r"config\.json: No such file"):
        MoondreamConfig.from_folder(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelFileError, match="not JSON"):
        MoondreamConfig.from_folder(tmp_path)
