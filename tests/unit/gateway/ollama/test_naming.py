import pytest

from gateway.ollama.naming import is_meant, name_of


@pytest.mark.parametrize(
    ("model", "revision", "name"),
    [
        ("vikhyatk/moondream2", "2025-01-09", "vikhyatk/moondream2:2025-01-09"),
        ("/home/anna/secret models/mine/", "local", "mine:local"),
        ("./models/My Model", "local", "My-Model:local"),
        (r"C:\models\mine", "local", "mine:local"),
        ("hub/model", "", "hub/model:latest"),
        ("/", "local", "model:local"),
    ],
)
def test_name_tells_no_folder(model: str, revision: str, name: str) -> None:
    assert name_of(model, revision) == name


@pytest.mark.parametrize(
    ("asked", "is_ours"),
    [
        ("vikhyatk/moondream2:2025-01-09", True),
        ("vikhyatk/moondream2", True),
        ("moondream2:latest", True),
        ("Moondream", True),
        ("moondream:1.8b-v2-q4", True),
        ("moondream2:another", True),
        ("vikhyatk/moondream2:another", False),
        ("llava:latest", False),
        ("", False),
    ],
)
def test_names_of_ours(asked: str, is_ours: bool) -> None:
    assert is_meant(asked, "vikhyatk/moondream2:2025-01-09") is is_ours


def test_names_of_the_library_are_not_another_model() -> None:
    assert not is_meant("moondream", "model:local")
