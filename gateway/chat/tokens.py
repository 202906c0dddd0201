"""How many tokens a text has, estimated: the gateway has no vocabulary.

English is about four characters a token; a script without spaces has one for a character or more.
"""

#: What a picture takes of the model's room.
PICTURE_TOKENS = 729
#: Of the model: picture, question and answer.
CONTEXT_TOKENS = 2048
_COUNTED = 64 << 10  # characters; the rest of a longer text is taken to be like them


def estimate(text: str) -> int:
    """About how many tokens; 0 only for an empty text."""
    counted = text[:_COUNTED]
    num_ascii = len(counted.encode("ascii", "ignore"))
    num_tokens = (num_ascii + 3) // 4 + len(counted) - num_ascii
    return num_tokens * len(text) // max(1, len(counted))
