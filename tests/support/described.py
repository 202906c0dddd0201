"""The gateway's OpenAPI document, without a service behind it."""

from typing import Any, cast

from gateway.app import make_app
from gateway.backend import Backend
from service.gateway import gateway_options
from service.settings import Settings


def described() -> dict[str, Any]:
    """As `/openapi.json` says it."""
    nothing = cast("Backend", object())  # only the routes are looked at
    return make_app(nothing, gateway_options(Settings(), "")).openapi()


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Those of the table, at every path, by method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "x-operation" in operation
    }
