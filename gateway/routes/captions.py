"""Captions that are kept: a search in them, and what a camera has seen."""

from fastapi import APIRouter

from gateway.calls import add_call
from schemas.requests.captions import CAPTION_SEARCH

router = APIRouter(tags=["captions"])

add_call(router, "GET", "/captions", CAPTION_SEARCH, names={"camera": "camera_id"})
