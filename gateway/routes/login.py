"""A browser shows the token once and keeps a cookie: an event source cannot send headers."""

import base64
import hashlib
import html
import re
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response

from gateway.access import TheCallers
from gateway.bodies import read_body
from gateway.guard.incoming import Incoming
from gateway.guard.keys import SESSION_S
from gateway.problems import Problem

router = APIRouter(include_in_schema=False)

_FORM = "application/x-www-form-urlencoded"
_MOST_BYTES, _MOST_FIELDS = 8192, 8

#: Where to after the login: a path of ours, never another host's.
_NEXT = re.compile(r"(?!.*\.\.)[A-Za-z0-9_.-][A-Za-z0-9_./=&%?-]{0,500}")

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 0; min-height: 100vh; display: grid;
  place-items: center; background: light-dark(#f4f5f7, #14171b);
  color: light-dark(#1c2127, #e6e9ed); }
main { box-sizing: border-box; width: min(24rem, 100vw); padding: 2rem; }
h1 { font-size: 1.25rem; margin: 0 0 1rem; }
input, button { box-sizing: border-box; width: 100%; font: inherit; padding: .6rem .75rem;
  border-radius: .4rem; border: 1px solid light-dark(#8a929c, #6b747f); }
input { margin: .25rem 0 1rem; background: light-dark(#fff, #1d2127); color: inherit; }
button { background: #1f5fbf; border-color: #1f5fbf; color: #fff; cursor: pointer; }
p { margin: 0 0 1rem; } .wrong { color: light-dark(#a3160c, #ff9d94); }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_CSP = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>moondream2mqtt: {title}</title>
<meta name="viewport" content="width=device-width"><style>{style}</style></head>
<body><main><h1>moondream2mqtt</h1>
{content}
</main></body></html>
"""
# Without an action a form goes to the page's own address, and the browser keeps its fragment: the
# part of the live page that was wanted.
_LOGIN = """{problem}<form method="post"><input type="hidden" name="next"
value="{next}"><label>Token <input name="token" type="password" required autofocus
autocomplete="current-password" spellcheck="false"></label><button>Log in</button></form>
<p><small>The command <code>moondream2mqtt token</code> shows it.</small></p>"""
_LOGOUT = """<form method="post" action="logout"><button>Log out</button></form>"""


@router.get("/login")
async def login_form(next: str = "") -> Response:
    """A form without a script."""
    return _page("login", _LOGIN.format(problem="", next=_safe(next)))


@router.post("/login")
async def log_in(request: Request, callers: TheCallers) -> Response:
    """The cookie, and on to where the browser wanted to go."""
    incoming = Incoming.of(request.scope)
    token, next = await _said(request)
    try:
        callers.check_tokens(incoming, [token.strip()])
    except Problem as problem:
        said = f'<p class="wrong" role="alert">{html.escape(str(problem))}</p>'
        response = _page("login", _LOGIN.format(problem=said, next=_safe(next)), problem.status)
        if problem.retry_after_s is not None:
            response.headers["Retry-After"] = str(max(1, round(problem.retry_after_s)))
        return response
    response = _redirect(_safe(next) or "./")
    response.set_cookie(
        callers.key.cookie,
        callers.key.make_session(),
        max_age=SESSION_S,
        httponly=True,
        samesite="strict",
        secure=incoming.is_https,
    )
    return response


async def _said(request: Request) -> tuple[str, str]:
    """The token and the path of the form; strangers send it, so no other is taken apart.

    Raises:
        Problem: It is another form.
    """
    if request.headers.get("content-type", _FORM).partition(";")[0].strip().lower() != _FORM:
        raise Problem("unsupported_type", f"{_FORM} is taken here, as browsers send it")
    body = await read_body(request, _MOST_BYTES)
    try:
        said = dict(parse_qsl(body.decode(), max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        raise Problem("bad_request", "the form cannot be read") from error
    return said.get("token", ""), said.get("next", "")


@router.get("/logout")
async def logout_form() -> Response:
    """A button: nothing is changed by a link."""
    return _page("log out", _LOGOUT)


@router.post("/logout")
async def log_out(request: Request, callers: TheCallers) -> Response:
    """Without the cookie."""
    response = _redirect("login")
    response.delete_cookie(
        callers.key.cookie,
        httponly=True,
        samesite="strict",
        secure=Incoming.of(request.scope).is_https,
    )
    return response


def _page(title: str, content: str, status: int = 200) -> Response:
    text = _PAGE.format(title=title, style=_STYLE, content=content)
    # With no-referrer browsers send forms as if from nowhere (Origin: null), which is refused.
    headers = {"Content-Security-Policy": _CSP, "Referrer-Policy": "same-origin"}
    return Response(text, status, headers, "text/html; charset=utf-8")


def _redirect(to: str) -> Response:
    return Response(status_code=303, headers={"Location": to})


def _safe(path: str) -> str:
    return path if _NEXT.fullmatch(path) else ""
