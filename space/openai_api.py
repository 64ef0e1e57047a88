"""OpenAI's API on the engine of the page: `POST /v1/audio/transcriptions` and what programs expect beside it.

The form is that of https://platform.openai.com/docs/api-reference/audio, so that its clients, and the front ends that
speak it, work with this server's address as their base URL. What it cannot do is refused by name.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

import audio_files
from audio import Sound
from decoding import DecodingOptions, compression_ratio, parse_hotwords
from fastapi import Depends, FastAPI, File, Form, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from metrics import CONTENT_TYPE_LATEST, Measured, Metrics
from protocol import Fault, fault, usage
from pydantic import BaseModel
from realtime import Realtime
from serving import Busy, Engine, Full, Slots
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose
from transcriber import Transcriber
from transcript import Segment, Transcript, format_transcript
from translations import SPOKEN, tell

ROUTE = "/v1/audio/transcriptions"
ALIAS = "whisper-1"  # which clients ask for where nobody told them a name
MOST_BYTES = audio_files.MEGABYTES * 1_000_000 + 100_000  # of a request: its file, and the other fields
MOST_LETTERS = 10_000  # of a prompt or of hotwords
STATUS = {"too_big": 413, "too_long": 413, "unreadable": 415}  # 400 for all other faults of a file
LATER = {Busy: 429, Full: 503}
BEARER = HTTPBearer(auto_error=False, description="API_KEY of the server, where it has one")  # for the docs
AS_PROTOCOL = "openai-insecure-api-key."
NO_KEY = "this server wants its key: Authorization: Bearer KEY"
TOO_LARGE = f"a file of at most {audio_files.MEGABYTES} MB is taken"
FLOW = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # events are not gathered on their way

Format = Literal["json", "text", "srt", "verbose_json", "vtt"]
Granularity = Literal["word", "segment"]


class Refused(Exception):
    """A request that is not answered: the status, a sentence, and the field that is wrong."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code


class Failure(BaseModel):
    error: Fault


class Door:
    """Refuses who has no key, and who comes with too much, before anything of a request is read."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app, self.key = app, key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and scope["path"].startswith("/v1/"):
            headers = Headers(scope=scope)
            if self.key and not hmac.compare_digest(_key(headers), self.key):
                if scope["type"] == "websocket":
                    return await WebSocketClose(1008, NO_KEY)(scope, receive, send)
                return await _refusal(Refused(401, NO_KEY, code="invalid_api_key"))(scope, receive, send)
            length = headers.get("content-length", "")
            if scope["type"] == "http" and length.isdecimal() and int(length) > MOST_BYTES:
                return await _refusal(Refused(413, TOO_LARGE))(scope, receive, send)
        await self.app(scope, receive, send)


def _key(headers: Headers) -> bytes:
    """The key that a caller gives: in a header or, from a page, which can set none on a WebSocket, as its protocol."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return key.encode()
    given = [one.strip() for one in headers.get("sec-websocket-protocol", "").split(",")]
    return next((one.removeprefix(AS_PROTOCOL).encode() for one in given if one.startswith(AS_PROTOCOL)), b"")


class Asked:
    """The fields of a transcription's form."""

    FIELDS = frozenset(
        "file model language prompt hotwords response_format timestamp_granularities[] temperature stream "
        "chunking_strategy".split()
    )

    def __init__(
        self,
        file: Annotated[UploadFile, File(description="audio or video, of any format that FFmpeg reads")],
        model: Annotated[str, Form(description=f"this model's id, or {ALIAS}")] = ALIAS,
        language: Annotated[str, Form(description="the model's own; another one is refused")] = "",
        prompt: Annotated[str, Form(max_length=MOST_LETTERS, description="text that came before")] = "",
        hotwords: Annotated[str, Form(max_length=MOST_LETTERS, description="words that may be said: A, B")] = "",
        response_format: Annotated[Format, Form()] = "json",
        granularities: Annotated[list[Granularity] | None, Form(alias="timestamp_granularities[]")] = None,
        temperature: Annotated[float, Form(ge=0, le=1)] = 0.0,
        stream: Annotated[bool, Form(description="answer by server-sent events; for json and text")] = False,
        chunking_strategy: Annotated[Literal["auto"], Form(description="speech is always cut at pauses")] = "auto",
    ) -> None:
        self.file, self.model, self.language = file, model, language
        self.form, self.granularities, self.stream = response_format, frozenset(granularities or ()), stream
        self.decoding = DecodingOptions(prompt, parse_hotwords(hotwords), temperature)

    @property
    def words(self) -> bool:
        """Whether the answer holds words, or subtitles that are cut at them."""
        return self.form in ("srt", "vtt", "verbose_json")

    async def check(self, request: Request, model: str, language: str) -> None:
        """Raise `Refused` where one of the fields asks for what is not to be had."""
        given = await request.form()
        for name in given:
            if name not in Asked.FIELDS:
                raise Refused(400, f"there is no field {name[:80]!r} here", name[:80])
        if len(given.getlist("file")) > 1:
            raise Refused(400, "one file at a time: this request holds several", "file")
        _check_model(self.model, model)
        names = {language, *(name.lower() for name in SPOKEN.get(language, ()))}
        if self.language and self.language.lower().split("-")[0] not in names:
            raise Refused(400, f"the model writes {spoken(language)}, not {self.language[:80]!r}", "language")
        if self.granularities and self.form != "verbose_json":
            field = "timestamp_granularities[]"
            raise Refused(400, f"{field} goes with response_format verbose_json, not {self.form}", field)
        if self.stream and self.words:
            raise Refused(400, f"stream goes with response_format json or text, not {self.form}", "stream")


@dataclass(frozen=True)
class Answer:
    """What was heard, in the form that was asked for."""

    transcript: Transcript
    asked: Asked
    tokens: Callable[[str], list[int]]

    def response(self) -> Response:
        text, form = self.transcript.text, self.asked.form
        if form == "json":
            return JSONResponse({"text": text, "usage": usage(self.transcript.seconds)})
        if form == "verbose_json":
            return JSONResponse(self._verbose())
        if form == "text":
            return PlainTextResponse(f"{text}\n")
        media = "text/vtt" if form == "vtt" else "application/x-subrip"
        return Response(format_transcript(self.transcript, form), media_type=f"{media}; charset=utf-8")

    def _verbose(self) -> dict[str, Any]:
        heard, wanted = self.transcript, self.asked.granularities or {"segment"}
        answer: dict[str, Any] = {
            "task": "transcribe", "language": spoken(heard.language).lower(), "duration": heard.seconds,
            "text": heard.text, "usage": usage(heard.seconds),
        }  # fmt: skip
        if "segment" in wanted:
            answer["segments"] = [self._segment(at, segment) for at, segment in enumerate(heard.segments)]
        if "word" in wanted:
            words = (word for segment in heard.segments for word in segment.words)
            answer["words"] = [{"word": word.text, "start": word.start, "end": word.end} for word in words]
        return answer

    def _segment(self, at: int, segment: Segment) -> dict[str, Any]:
        return {
            "id": at, "seek": round(100 * segment.start), "start": segment.start, "end": segment.end,
            "text": segment.text, "tokens": self.tokens(segment.text),
            "temperature": self.asked.decoding.temperature, "avg_logprob": segment.log_probability,
            "compression_ratio": round(compression_ratio(segment.text), 3), "no_speech_prob": segment.no_speech,
        }  # fmt: skip


def application(transcriber: Transcriber, health: Callable[[], Awaitable[dict[str, Any]]]) -> FastAPI:
    """All that programs call: /v1, /health, /metrics, and /docs with /openapi.json.

    API_KEY, where it is set, is wanted by /v1. CORS_ORIGINS, with commas between, are the sites whose pages may call.
    """
    slots = Slots(transcriber.callers)
    metrics = Metrics(slots)
    engine = Engine(transcriber, slots, metrics.transcribed)
    model = _model(transcriber.release)
    api = FastAPIOffline(
        title=f"{model['id']}: speech to text", version="1", redoc_url=None,
        description="OpenAI's API for transcriptions, of a fine-tuned Whisper.",
    )  # fmt: skip
    _tell_faults(api)
    api.add_middleware(Door, key=os.environ.get("API_KEY", ""))
    api.add_middleware(Measured, metrics=metrics, routes=frozenset([ROUTE, "/v1/models"]))
    if origins := [origin.strip() for origin in os.environ.get("CORS_ORIGINS", "").split(",") if origin.strip()]:
        api.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"])
    guarded: dict[str, Any] = {"dependencies": [Depends(BEARER)], "responses": {"4XX": {"model": Failure}}}

    api.add_api_route("/health", health, summary="Which model is served, and for how long")

    @api.get("/metrics", response_class=PlainTextResponse, summary="Counters for Prometheus")
    async def counters() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @api.get("/v1/models", summary="The models: one", **guarded)
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [model]}

    @api.get("/v1/models/{name:path}", summary="A model", **guarded)
    async def a_model(name: str) -> dict[str, Any]:
        _check_model(name, model["id"])
        return model

    @api.post("/v1/audio/translations", include_in_schema=False, **guarded)
    async def translate() -> None:
        raise Refused(
            400, f"the model writes {spoken(transcriber.language)} and does not translate", code="unsupported"
        )

    @api.post(
        ROUTE, response_model=None, max_body_size=MOST_BYTES,
        summary="Write down what is said in an audio or video file", **guarded,
    )  # fmt: skip
    async def transcribe(request: Request, asked: Annotated[Asked, Depends()]) -> Response:
        await asked.check(request, model["id"], transcriber.language)
        sound = await engine.open(lambda: _opened(asked.file))
        if asked.stream:
            slots.check()  # once an answer begins, its status stands
            return StreamingResponse(_events(engine, sound, asked), media_type="text/event-stream", headers=FLOW)
        segments = await engine.transcribe(sound, asked.decoding, asked.words, request.receive)
        return Answer(transcriber.transcript(sound.samples, segments), asked, transcriber.tokens).response()

    api.add_api_websocket_route("/v1/realtime", Realtime(transcriber).answer)
    return api


def spoken(language: str) -> str:
    """The English name of a language, as far as it is known."""
    return SPOKEN.get(language, (language,))[0]


def _check_model(name: str, own: str) -> None:
    if name not in (own, ALIAS):
        raise Refused(404, f"there is no model {name[:80]!r} here, only {own}", "model", "model_not_found")


def _model(release: dict[str, Any]) -> dict[str, Any]:
    try:
        created = int(datetime.fromisoformat(str(release.get("created"))).timestamp())
    except ValueError:
        created = 0
    name = str(release.get("name") or "whisper")
    return {"id": name, "object": "model", "created": created, "owned_by": "whisper-flow"}


def _opened(file: UploadFile) -> Sound:
    try:
        return audio_files.read(file.file)
    except audio_files.Unheard as error:
        status = STATUS.get(error.key, 400)
        raise Refused(status, tell(error.key, "en", **error.values), "file", error.key) from None


async def _events(engine: Engine, sound: Sound, asked: Asked) -> AsyncIterator[str]:
    """Server-sent events: the text piece by piece, and at last as a whole."""
    joint, texts = engine.transcriber.joint, list[str]()
    try:
        async for segment in engine.stream(sound, asked.decoding):
            yield _event("transcript.text.delta", delta=(joint if texts else "") + segment.text)
            texts.append(segment.text)
    except (Busy, Full) as error:
        yield _event("error", error=fault(LATER[type(error)], str(error)))
        return
    seconds = len(sound.samples) / audio_files.RATE
    yield _event("transcript.text.done", text=joint.join(texts), usage=usage(seconds))
    yield "data: [DONE]\n\n"


def _event(kind: str, **values: Any) -> str:
    return f"data: {json.dumps({'type': kind, **values}, ensure_ascii=False)}\n\n"


def _refusal(error: Refused, headers: Any = None) -> Response:
    if error.status == 401:
        headers = {"WWW-Authenticate": "Bearer"}
    return JSONResponse({"error": fault(error.status, str(error), error.param, error.code)}, error.status, headers)


def _tell_faults(api: FastAPI) -> None:
    """Tell every fault in OpenAI's form."""

    @api.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return _refusal(error)

    @api.exception_handler(Busy)
    @api.exception_handler(Full)
    async def later(_: Request, error: Busy | Full) -> Response:
        # A connection that waits idle for so long may be closed here just as its next request comes.
        later = {"Retry-After": str(error.seconds), "Connection": "close"}
        return _refusal(Refused(LATER[type(error)], str(error)), later)

    @api.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        kind = request.headers.get("content-type", "")
        if request.url.path == ROUTE and not kind.startswith("multipart/form-data"):
            return _refusal(Refused(415, f"the request is to be multipart/form-data, not {kind[:80] or 'untyped'}"))
        first = error.errors()[0]
        field = str(first["loc"][1])
        said = "is to be a file, sent with the request" if field == "file" else first["msg"]
        return _refusal(Refused(400, f"{field}: {said}", field, first["type"]))

    @api.exception_handler(HTTPException)
    async def failed(_: Request, error: HTTPException) -> Response:
        said = TOO_LARGE if error.status_code == 413 else str(error.detail)
        return _refusal(Refused(error.status_code, said), error.headers)
