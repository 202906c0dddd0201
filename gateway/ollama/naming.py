"""What the model is called: Ollama's names are `name:tag`, here model and revision."""

import hashlib

from gateway.chat.model import plain_name

#: Names of the same model in Ollama's own library.
_LIBRARY_NAMES = frozenset({"moondream", "moondream2"})


def name_of(model: str, revision: str) -> str:
    """`vikhyatk/moondream2:2025-01-09`.

    Args:
        model: Hub id or folder.
        revision: Tag, branch or commit; `local` of a folder.
    """
    return f"{plain_name(model)}:{revision or 'latest'}"


def is_meant(asked: str, name: str) -> bool:
    """Whether somebody who asks for a model by this name means ours.

    Args:
        asked: With or without a tag.
        name: Of `name_of`.
    """
    plain, _, tag = asked.strip().lower().partition(":")
    ours, _, revision = name.lower().partition(":")
    if plain in _LIBRARY_NAMES and "moondream" in ours:
        return True
    return plain in {ours, ours.rpartition("/")[2]} and tag in {"", "latest", revision}


def digest_of(name: str) -> str:
    """Stands for name and revision: the weights are not read for it."""
    return hashlib.sha256(name.encode()).hexdigest()
