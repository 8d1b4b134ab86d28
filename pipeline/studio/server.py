"""The studio's server: its page, its files, and who may see them."""

import asyncio
import hashlib
import hmac
import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from nicegui import app, run, ui
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)

from dreamreel.pipeline.durable import write_whole
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.live.showing import MULTIPART
from dreamreel.pipeline.opening import read_json, read_text
from dreamreel.pipeline.studio import texts
from dreamreel.pipeline.studio.folder import OWN, Studio
from dreamreel.pipeline.studio.live import Live
from dreamreel.pipeline.studio.page import Page
from dreamreel.pipeline.studio.previewing import Previews
from dreamreel.pipeline.studio.renders import Renders

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

ENDS_WITHIN = 3  # seconds that open answers have at the end
CLEANS_EVERY = 600.0  # seconds between deletions of old stills
LOOPBACK = ("127.0.0.1", "localhost", "::1")
ADVANCES = 1.0  # seconds between looks at the queue
COOKIE = "dreamreel"
HEADERS = {
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "connect-src 'self' ws: wss:; frame-ancestors 'none'; form-action 'self'; base-uri 'self'",
}
SAFE = ("GET", "HEAD", "OPTIONS")
LARGEST_FORM = 4096  # bytes of what comes with a password
AFTER_WRONG = 0.5  # seconds until the next try
SCRYPT = {"n": 1 << 14, "r": 8, "p": 1}  # some 50 ms a try


def serve(
    studio: Studio,
    host: str,
    port: int,
    opens: bool,
    password: Path | None,
    told: Callable[[str], None],
) -> None:
    """Serve the page of `studio` until Ctrl-C, and tell `told` its address. Raises UserError if
    another machine could see it without a password."""
    if host not in LOOPBACK and password is None:
        raise UserError(
            f"--host {host} lets other machines in; give --password-file FILE, whose first line is "
            "the password that they need"
        )
    previews, renders, live = Previews(studio), Renders(studio), Live(studio)
    digest = None if password is None else kept_digest(studio, password)
    app.add_middleware(Guard, host=host, port=port, digest=digest)

    @app.get("/file/{kind}/{name}")
    def file(kind: str, name: str, request: Request) -> Response:
        return _file(studio, kind, name, request)

    @ui.page("/", title=texts.TITLE)
    def page() -> None:
        Page(studio, previews, renders, live)

    @app.get("/live/stream")
    def stream() -> Response:
        if not live.is_seen:
            return PlainTextResponse("Nothing is dreamed live.", 404)
        return StreamingResponse(live.stream(), media_type=MULTIPART)

    app.timer(ADVANCES, lambda: run.io_bound(renders.advance))
    app.timer(CLEANS_EVERY, lambda: run.io_bound(studio.forget_old_stills), immediate=False)
    app.on_shutdown(live.stop)
    app.on_startup(lambda: told(f"http://{_bracketed(host)}:{port}/"))
    app.on_shutdown(previews.close)
    ui.run(
        host=host,
        port=port,
        title=texts.TITLE,
        dark=None,
        show=opens,
        uvicorn_logging_level="error",
        reload=False,
        show_welcome_message=False,
        # A live dream's stream never ends by itself.
        timeout_graceful_shutdown=ENDS_WITHIN,
    )


def _file(studio: Studio, kind: str, name: str, request: Request) -> Response:
    path = studio.file(kind, name)
    if path is None:
        return PlainTextResponse("There is no such file.", 404)
    as_download = "download" in request.query_params
    return FileResponse(path, filename=name if as_download else None,
                        headers={"cache-control": "no-store"})  # fmt: skip


class Guard:
    """Lets in whoever may see the page: by the name of this server alone, from its own pages, and
    with the password, if there is one. What it answers cannot be framed."""

    def __init__(self, app: Any, host: str, port: int, digest: tuple[bytes, bytes] | None) -> None:
        self._app, self._digest = app, digest
        self._sessions: set[str] = set()
        self._one_try = asyncio.Lock()
        names = LOOPBACK if host in LOOPBACK else None  # by any name, with a password
        self._hosts = None if names is None else {f"{_bracketed(name)}:{port}" for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI has it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = {key.decode().lower(): value.decode("latin-1") for key, value in scope["headers"]}
        refused = self._refused(scope, headers)
        if refused is not None:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await PlainTextResponse(refused, 403)(scope, receive, _with_headers(send))
            return
        if self._digest is not None and not self._is_known(headers):
            await self._ask(scope, receive, send)
            return
        await self._app(scope, receive, _with_headers(send))

    def _refused(self, scope: Scope, headers: dict[str, str]) -> str | None:
        """Why the request is refused; None if it is not."""
        host = headers.get("host", "")
        if self._hosts is not None and host not in self._hosts:
            return "This page is for this machine alone."
        origin = headers.get("origin")
        changes = scope["type"] == "websocket" or scope["method"] not in SAFE
        if origin is not None and changes and origin.partition("://")[2] != host:
            return "Another page may not ask this."
        if headers.get("sec-fetch-site") == "cross-site" and changes:
            return "Another page may not ask this."
        return None

    def _is_known(self, headers: dict[str, str]) -> bool:
        cookies = [part.strip().partition("=") for part in headers.get("cookie", "").split(";")]
        given = next((value for name, _, value in cookies if name == COOKIE), "")
        told = given.encode("latin-1", "replace")
        return any(hmac.compare_digest(told, one.encode()) for one in self._sessions)

    async def _ask(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask for the password."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        request, wrong = Request(scope, receive), False
        if request.method == "POST" and request.url.path == "/enter":
            body = b""
            async for part in request.stream():
                body += part
                if len(body) > LARGEST_FORM:
                    await PlainTextResponse("That is no password.", 413)(
                        scope, receive, _with_headers(send)
                    )
                    return
            given = parse_qs(body.decode(errors="replace")).get("password", [""])[0]
            async with self._one_try:  # so that guessing is slow
                matches = await asyncio.to_thread(self._matches, given)
                await asyncio.sleep(0 if matches else AFTER_WRONG)
            if matches:
                session = secrets.token_urlsafe(32)
                self._sessions.add(session)
                answer: Response = RedirectResponse("/", 303)
                answer.set_cookie(COOKIE, session, httponly=True, samesite="strict")
                await answer(scope, receive, _with_headers(send))
                return
            wrong = True
        told = f"<p role='alert'>{escape(texts.WRONG)}</p>" if wrong else ""
        text = (
            f"<!doctype html><html lang='en'><title>{escape(texts.TITLE)}</title>{told}"
            f"<form method='post' action='/enter'><label>{escape(texts.PASSWORD)} "
            f"<input type='password' name='password' autofocus></label>"
            f"<button>{escape(texts.ENTER)}</button></form></html>"
        )
        await HTMLResponse(text, 401)(scope, receive, _with_headers(send))

    def _matches(self, password: str) -> bool:
        assert self._digest is not None
        salt, digest = self._digest
        return hmac.compare_digest(_digest(password, salt), digest)


def kept_digest(studio: Studio, file: Path) -> tuple[bytes, bytes]:
    """The salt and the digest of the password in `file`, kept in the studio's folder. Raises
    UserError if there is none."""
    password = read_text(file, 4096).splitlines()
    if not password or len(password[0]) < 8:
        raise UserError(f"{file} must have a password of 8 characters or more in its first line")
    place = studio.root / OWN / "password.json"
    try:
        table = read_json(place, 4096)
        salt, digest = bytes.fromhex(table["salt"]), bytes.fromhex(table["digest"])
        if hmac.compare_digest(_digest(password[0], salt), digest):
            return salt, digest
    except (UserError, ValueError, KeyError, TypeError):
        pass
    salt = secrets.token_bytes(16)
    digest = _digest(password[0], salt)
    data = json.dumps({"salt": salt.hex(), "digest": digest.hex()}).encode()
    write_whole(place, lambda opened: opened.write(data))
    return salt, digest


def _digest(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, **SCRYPT)


def _with_headers(send: Send) -> Send:
    async def sent(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            known = {key.lower() for key, _ in message.get("headers", [])}
            more = [(key.encode(), value.encode()) for key, value in HEADERS.items()
                    if key.encode() not in known]  # fmt: skip
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await send(message)

    return sent


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name
