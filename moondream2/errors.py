"""Everything the model package raises on purpose.

MoondreamError
├── ModelFileError    a file of the model folder is unusable; another try cannot help
├── DownloadError     the hub or its cache could not give a file; may work later
├── QuantizeError     the wanted weight format needs something that is not installed
├── PromptError       the request asks for what this model cannot do (in `tokens`)
├── OutOfMemoryError  the device has no room for this frame, even alone (in `generate`)
└── NotANumberError   the arithmetic of this frame left the range of its format (in `generate`)
"""


class MoondreamError(Exception):
    """Base of the tree."""

    code = "model_error"


class ModelFileError(MoondreamError):
    """A file of the model folder is missing, damaged, or of another model."""

    code = "model_file"


class DownloadError(MoondreamError):
    """A file of the model could not be fetched from the hub or found in its cache."""

    code = "model_download"


class QuantizeError(MoondreamError):
    """The weights cannot be held in the wanted format here."""

    code = "model_quantize"
