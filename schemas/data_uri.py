"""What a data URI (RFC 2397) begins with that a picture can stand behind.

Browsers and libraries that do not know what a file is say `application/octet-stream`, or nothing;
whether it is a picture is told from its bytes. Other types are not pictures, by their own word.
"""

import re

_HEAD = (
    r"data:(image/[a-z0-9.+-]{1,32}|application/octet-stream)?"
    r"(;[a-z0-9=.+-]{1,64}){0,4};base64,"
)

#: To be matched at the beginning; the rest is base64.
TEXT_HEAD = re.compile(_HEAD, re.IGNORECASE)
#: The same in bytes.
BYTES_HEAD = re.compile(_HEAD.encode(), re.IGNORECASE)
