"""Why an image is refused: raised by both sides that look at images, translated at their edges."""


class ImageError(Exception):
    """The image cannot be taken as it is.

    Attributes:
        code: For programs, e.g. `not_an_image`; the contract's error codes.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ImageTooLargeError(ImageError):
    """Too many bytes, pixels or scans."""


class ImageDecodeError(ImageError):
    """Not an image, or not a whole one."""
