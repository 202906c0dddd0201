"""All families; each is a file of data with one function `cases`."""

from collections.abc import Callable, Mapping

from tests.hostile.case import COMPLETED, Case, Cases
from tests.hostile.families import (
    encodings,
    fields,
    flags,
    images,
    job_ids,
    json_shapes,
    metadata,
    mixtures,
    numbers,
    properties,
    sizes,
    tasks,
    timestamps,
    topics,
    unicode,
    urls,
    webhooks,
)

FAMILIES: Mapping[str, Callable[[], Cases]] = {
    "JSON shapes": json_shapes.cases,
    "fields": fields.cases,
    "numbers": numbers.cases,
    "unicode": unicode.cases,
    "time stamps": timestamps.cases,
    "tasks": tasks.cases,
    "metadata": metadata.cases,
    "job ids": job_ids.cases,
    "encodings": encodings.cases,
    "images": images.cases,
    "sizes": sizes.cases,
    "URLs": urls.cases,
    "webhooks": webhooks.cases,
    "topics": topics.cases,
    "properties": properties.cases,
    "flags": flags.cases,
    "mixtures": mixtures.cases,
}

#: Outcomes that take their time.
_LATE = COMPLETED | {"expired expired"}


def corpus(families: Mapping[str, Callable[[], Cases]] = FAMILIES) -> dict[str, list[Case]]:
    """Every case by its family.

    Raises:
        ValueError: Two cases of a family have the same name, or one cannot be judged.
    """
    found = {family: list(cases()) for family, cases in families.items()}
    for family, cases in found.items():
        names = [each.name for each in cases]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{family}: named twice: {sorted(twice)}")
        for case in cases:
            if any("silent" in shot.expect and shot.expect & _LATE for shot in case.shots):
                raise ValueError(f"{family}: {case.name}: silence, or only a late answer?")
    return found
