"""How many tokens a text has, estimated: the gateway has no vocabulary.

English is about four characters a token; a script without spaces has one for a character or more.
"""

#: What a picture takes of the model's room.
PICTURE_TOKENS = 729
#: Of the model: picture, question and answer.
CONTEXT_TOKENS = 2048


def estimate(text: str) -> int:
    """About how many tokens; 0 only for an empty text."""
    num_ascii = sum(character.isascii() for character in text)
    return (num_ascii + 3) // 4 + len(text) - num_ascii
