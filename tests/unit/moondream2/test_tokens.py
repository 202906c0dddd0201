import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Vocabulary

from moondream2.config import MoondreamConfig, TokenIds, TokenizerSource, public_config
from moondream2.errors import ModelFileError
from moondream2.tasks import Caption, Detect, Gaze, Point, Query, Task
from moondream2.tokens import Coordinate, PromptError, Size, TextStream, Tokenizer
from tests.support.checkpoints import FIXTURES, reference_record

CONFIG = MoondreamConfig.from_folder(FIXTURES)
FILE = FIXTURES / "tokenizer.json"
TOKENIZER = Tokenizer.load(FILE, CONFIG)
SPECIAL = (
    "<|endoftext|>",
    "<|coord|>",
    "<|size|>",
    "<|md_reserved_2|>",
    "<|start_ground_points|>",
)


def _with(**changes: object) -> Tokenizer:
    return Tokenizer.load(FILE, replace(CONFIG, **changes))  # type: ignore[arg-type]


@given(st.lists(st.one_of(st.text(max_size=8), st.sampled_from(SPECIAL)), max_size=8).map("".join))
def test_encoded_text_has_no_special_ids(text: str) -> None:
    assert all(token > 9 for token in TOKENIZER.encode(text))


@given(st.text(alphabet="abc <|>coordend_ftxsize\n", max_size=40))
def test_special_strings_survive_as_text(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_half_of_surrogate_pair_is_taken_as_unknown_character() -> None:
    assert TOKENIZER.decode(TOKENIZER.encode("a\ud800b")) == "a?b"


def test_decode_skips_special_and_foreign_ids() -> None:
    assert TOKENIZER.decode([94, 443, 600, 5, 3, 99999]) == "u walking"


def test_caption_prompts_are_those_of_the_model() -> None:
    for length in ("short", "normal", "long"):
        record = reference_record()["images"][0]["caption"][length]
        assert list(TOKENIZER.prompt(Caption(length))) == record["prompt_ids"]


@pytest.mark.parametrize("skill", ["query", "detect", "point"])
def test_prompts_of_user_text_equal_reference(skill: str) -> None:
    for image in reference_record()["images"]:
        record = image[skill]
        task: Task
        if skill == "query":
            task = Query(record["question"])
        else:
            task = (Detect if skill == "detect" else Point)(record["object"])
        assert list(TOKENIZER.prompt(task)) == record["prompt_ids"]


def test_reasoning_prompt_ends_with_answer_and_thinking() -> None:
    for record in reference_record()["reasoning_query"]:
        prompt = TOKENIZER.prompt(Query(record["question"], reasoning=True))
        assert list(prompt) == record["prompt_ids"]


def test_question_without_frame_begins_with_bos() -> None:
    for record in reference_record()["text_only_query"]:
        prompt = TOKENIZER.prompt(Query(record["question"]), has_image=False)
        assert list(prompt) == record["prompt_ids"]


def test_places_stand_where_reference_has_their_ids() -> None:
    for record in reference_record()["spatial_query"]:
        refs = tuple(tuple(ref) for ref in record["spatial_refs"])
        prompt = TOKENIZER.prompt(Query(record["question"], spatial_refs=refs))
        ids = {Coordinate: 5, Size: 6}
        assert [ids.get(type(feed), feed) for feed in prompt] == record["prompt_ids"]


def test_box_is_read_as_centre_and_size() -> None:
    prompt = TOKENIZER.prompt(Query("x", spatial_refs=((0.125, 0.25, 0.625, 0.75),)))
    assert prompt[4:7] == (Coordinate(0.375), Coordinate(0.5), Size(0.5, 0.5))


def test_eye_is_rounded_to_bfloat16() -> None:
    prompt = TOKENIZER.prompt(Gaze((0.3, 0.5)))
    record = reference_record()["gaze"][0]
    before, after = record["before_ids"], record["after_ids"]
    assert list(prompt) == [*before, Coordinate(0.30078125), Coordinate(0.5), *after]


def test_prompts_of_earlier_releases_have_their_spaces() -> None:
    tokenizer = _with(prompts=replace(CONFIG.prompts, query_leading_space=True))
    question = tokenizer.prompt(Query("car"))
    assert list(question) == [1, 334, 425, 2, *TOKENIZER.encode(" car"), 3, 3]
    tokenizer = _with(prompts=replace(CONFIG.prompts, object_leading_space=False))
    assert list(tokenizer.prompt(Detect("car")))[-len(TOKENIZER.encode("car")) - 1 :] == [
        *TOKENIZER.encode("car"),
        3,
    ]


@pytest.mark.parametrize(
    ("task", "fault"),
    [
        (Caption("endless"), "no caption length 'endless': it has short, normal, long"),
        (Query("x", spatial_refs=((0.1, 0.2, 0.3),)), "2 or 4 numbers"),
        (Query("x", spatial_refs=((0.1, 1.2),)), "outside of 0..1"),
    ],
)
def test_prompt_that_cannot_be_built_is_an_error(task: Task, fault: str) -> None:
    with pytest.raises(PromptError, match=fault):
        TOKENIZER.prompt(task)


def test_release_without_a_skill_says_so() -> None:
    tokenizer = _with(tokens=TokenIds(bos=0, eos=0))
    with pytest.raises(PromptError, match="does not reason"):
        tokenizer.prompt(Query("x", reasoning=True))
    with pytest.raises(PromptError, match="knows no places"):
        tokenizer.prompt(Query("x", spatial_refs=((0.5, 0.5),)))


def test_task_about_a_frame_needs_one() -> None:
    with pytest.raises(PromptError, match="detect needs a frame"):
        TOKENIZER.prompt(Detect("x"), has_image=False)


def test_word_of_public_vocabulary_is_checked() -> None:
    source = TokenizerSource("moondream/starmie-v1", "main")
    with pytest.raises(ModelFileError, match=r"512 entries.*expected 51200 and \[15381\]"):
        _with(tokenizer=source)


def test_vocabulary_without_the_special_ids_is_refused(tmp_path: Path) -> None:
    """The stale file beside the public weights has `!` where the new one has the stop token."""
    data = json.loads(FILE.read_text())
    data["added_tokens"] = []
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(ModelFileError, match=r"ids \[0, 3, 4, 5, 6, 7, 9\] are not special"):
        Tokenizer.load(tmp_path / "tokenizer.json", CONFIG)


def test_vocabulary_larger_than_the_model_is_refused() -> None:
    with pytest.raises(ModelFileError, match="512 entries for 400"):
        _with(text=replace(CONFIG.text, vocab_size=400))


@pytest.mark.parametrize(("content", "fault"), [(None, "No such file"), ("{}", "not a tokenizer")])
def test_unreadable_vocabulary_is_an_error(tmp_path: Path, content: str | None, fault: str) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelFileError, match=fault):
        Tokenizer.load(tmp_path / "tokenizer.json", CONFIG)


def test_public_configs_name_their_vocabulary() -> None:
    source = public_config().tokenizer
    assert source is not None
    assert source.repo == "moondream/starmie-v1"


@given(st.text(max_size=30))
def test_pieces_joined_are_the_text(text: str) -> None:
    stream = TextStream(TOKENIZER)
    pieces = [stream.push(token) for token in TOKENIZER.encode(text)]
    assert "".join([*pieces, stream.finish()]) == text.encode(errors="replace").decode()


def test_first_release_streams_token_by_token() -> None:
    stream = TextStream(TOKENIZER, by_word=False)
    ids = TOKENIZER.encode("a red car")
    assert [stream.push(token) for token in ids] == [TOKENIZER.decode([token]) for token in ids]
    assert stream.finish() == ""


def test_vocabulary_object_is_taken_as_it_is() -> None:
    assert Tokenizer(Vocabulary.from_file(str(FILE)), CONFIG).size == 512
