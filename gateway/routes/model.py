"""The model in the engines."""

from fastapi import APIRouter

from gateway.calls import add_call
from schemas.requests.models import MODEL_INFO, MODEL_LIST, MODEL_LOAD, MODEL_UNLOAD

router = APIRouter(tags=["model"])

add_call(router, "GET", "/model/info", MODEL_INFO)
add_call(router, "GET", "/model/list", MODEL_LIST)
add_call(router, "POST", "/model/load", MODEL_LOAD)
add_call(router, "POST", "/model/unload", MODEL_UNLOAD)
