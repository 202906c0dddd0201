"""A JSON schema as a form: what is asked about a picture, and the object that the answers make.

The object is valid under the schema whatever the model says; what cannot be asked gets a default.
"""

import logging
from typing import Any

from gateway.chat.conversation import caption_wanted
from gateway.filling.build import Builder, Place
from gateway.filling.sheet import Answers, Sheet
from gateway.filling.wholes import Part
from schemas.frame import MAX_TASKS
from schemas.result import Result

logger = logging.getLogger(__name__)

#: What is filled where JSON is wanted and no schema says which.
ANY_JSON: dict[str, Any] = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "description": {"type": "string"}},
    "required": ["title", "description"],
}
_MOST_CHARACTERS = 64 << 10  # of a question that are looked at
_CONTEXT_CHARACTERS = 300  # a longer prompt says how to fill the schema, not what is asked


class Form:
    """What is to be filled.

    Attributes:
        tasks: For a frame; at most `MAX_TASKS`, maybe none.
    """

    def __init__(self, part: Part, sheet: Sheet) -> None:
        self._part = part
        self.tasks = list(sheet.tasks)

    @classmethod
    def of(cls, schema: object, question: str) -> "Form":
        """Read a schema; ask one question for each property.

        Args:
            schema: A JSON schema.
            question: What the user asked; stands before what has no description of its own.

        Raises:
            Problem: `bad_field`: nothing can satisfy the schema, or it uses what is not supported.
        """
        question = " ".join(question[:_MOST_CHARACTERS].split())
        is_context = len(question) <= _CONTEXT_CHARACTERS and caption_wanted(question) is None
        sheet = Sheet()
        builder = Builder(schema, sheet, question if is_context else "")
        part = builder.build_root(schema, Place())
        if sheet.not_asked:
            logger.warning(
                "a schema asks more than %d questions; filled with defaults: %s",
                MAX_TASKS,
                ", ".join(sheet.not_asked)[:500],
                extra={"action": "schema_cut"},
            )
        return cls(part, sheet)

    def fields(self) -> dict[str, Any]:
        """Of the frame that is asked about; only where there are tasks."""
        return {"tasks": self.tasks}

    def filled(self, result: Result | None) -> Any:
        """The object.

        Args:
            result: Of a frame with `tasks`; None: nobody was asked, all are defaults.
        """
        return self._part.value(Answers(self.tasks, result))
