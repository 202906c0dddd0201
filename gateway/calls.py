"""An operation as a route: its fields from path, query and body, its answer as JSON.

Description, fields and example are those of `schemas.requests.table`; a route adds its path.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from gateway.access import TheBackend
from gateway.bodies import check_is_json, read_body, read_request, take_apart
from gateway.described import body_of, parameters_of, path_names
from gateway.problems import Problem, ProblemDocument
from schemas.requests.operation import Operation

#: Makes another form of an answer, which another system's clients read.
Shape = Callable[[Any], dict[str, Any]]

_NO_WORD = re.compile(r"\W+")
_JSON = "application/json"
_WITH_BODY = ("POST", "PATCH")


def add_call(
    router: APIRouter,
    method: str,
    path: str,
    operation: Operation[Any, Any],
    *,
    status: int = 200,
    shape: Shape | None = None,
    names: Mapping[str, str] | None = None,
) -> None:
    """Let an operation be asked at a path.

    Args:
        router: Of its group.
        method: GET and DELETE have their fields in the query, POST and PATCH in the body as well.
        path: With `{field}` where a field stands in it.
        operation: One of the table.
        status: Of an answer that is no problem.
        shape: See `Shape`.
        names: Fields by what another system calls them in its path and query.
    """

    async def call(request: Request, backend: TheBackend) -> Response:
        content = await fields_of_request(request, operation, names or {})
        answer = await backend.call(operation.name, content)
        return say(answer, status) if shape is None else JSONResponse(shape(answer), status)

    add_route(router, method, path, operation, call, status=status, names=names, shape=shape)


def add_route(
    router: APIRouter,
    method: str,
    path: str,
    operation: Operation[Any, Any],
    endpoint: Callable[..., Awaitable[Response]],
    *,
    status: int = 200,
    names: Mapping[str, str] | None = None,
    shape: Shape | None = None,
    further_parameters: Sequence[dict[str, Any]] = (),
    body: dict[str, Any] | None = None,
) -> None:
    """Let an endpoint answer for an operation, described as that is.

    Args:
        router: Of its group.
        method: Of HTTP.
        path: Of the route.
        operation: Whose description, fields and answer these are.
        endpoint: Answers.
        status: Of an answer that is no problem.
        names: See `add_call`.
        shape: See `Shape`; the answer is described as any object then.
        further_parameters: As OpenAPI describes them.
        body: The same, where it is not the operation's request as JSON.
    """
    extra: dict[str, Any] = {
        "x-operation": operation.name,
        "parameters": [
            *parameters_of(operation, method, path, names or {}),
            *further_parameters,
        ],
    }
    if method in _WITH_BODY:
        body = body or body_of(operation, path_names(path, names or {}))
    if body is not None:
        extra["requestBody"] = body
    answer = {"model": operation.answer} if shape is None else {"model": dict[str, Any]}
    router.add_api_route(
        path,
        endpoint,
        methods=[method],
        status_code=status,
        summary=operation.name if shape is None else f"{operation.name}, in another form",
        description=operation.description,
        responses={
            status: {**answer, "description": "Done."},
            "default": {"model": ProblemDocument, "description": "It is not done, and why."},
        },
        response_model=None,
        openapi_extra=extra,
        operation_id=_NO_WORD.sub("_", f"{method.lower()}{path}").strip("_"),
    )


async def fields_of_request(
    request: Request, operation: Operation[Any, Any], names: Mapping[str, str]
) -> dict[str, Any]:
    """What a request says to an operation, still unchecked.

    Raises:
        Problem: The body is no JSON, or a field is said twice and differently.
    """
    said = {names.get(name, snake_case(name)): v for name, v in request.query_params.items()}
    said |= {names.get(name, name): value for name, value in request.path_params.items()}
    if request.method not in _WITH_BODY:
        return said
    body = await read_body(request, operation.max_bytes)
    check_is_json(request, body)
    content = await take_apart(body, partial(read_request, body, operation))
    for name in content.keys() & said.keys():
        if str(content[name]) != said[name]:
            raise Problem("bad_field", f"{name}: is said twice, and differently", param=name)
    return {**said, **content}


def say(answer: BaseModel, status: int = 200) -> Response:
    """A document as it travels."""
    return Response(answer.model_dump_json(), status, media_type=_JSON)


def snake_case(name: str) -> str:
    """`orderBy` as `order_by`; clients of others write their parameters so."""
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name).lstrip("_")
