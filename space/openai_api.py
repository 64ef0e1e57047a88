"""OpenAI's transcription API on this engine: `POST /v1/audio/transcriptions` and the routes that clients expect.

Requests and responses have the form of https://platform.openai.com/docs/api-reference/audio, so OpenAI's clients, and
their front ends, work with this server's address as base URL. Unsupported options are refused by name.
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
import upload_limits
from audio import Sound
from decoding import DecodingOptions, compression_ratio, parse_hotwords
from fastapi import Depends, FastAPI, File, Form, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from metrics import CONTENT_TYPE_LATEST, Metrics, MetricsMiddleware
from openai_realtime import RealtimeEndpoint
from protocol import ErrorDetail, error_detail, usage
from pydantic import BaseModel
from serving import Engine, OutOfMemory, RequestSlots, TooManyRequests
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose
from subtitles import format_transcript
from transcriber import Transcriber
from transcript import Segment, Transcript
from translations import SPEECH_LANGUAGES, translate

TRANSCRIPTIONS = "/v1/audio/transcriptions"
MODEL_ALIAS = "whisper-1"  # the model that clients ask for by default
MAX_BYTES = upload_limits.MAX_MEGABYTES * 1_000_000 + 100_000  # of a request: its file and the other fields
MAX_CHARACTERS = 10_000  # of a prompt or of hotwords
FILE_STATUS = {"too_big": 413, "too_long": 413, "unreadable": 415}  # 400 for all other errors of a file
RETRY_STATUS = {TooManyRequests: 429, OutOfMemory: 503}
BEARER = HTTPBearer(auto_error=False, description="API_KEY of the server, if it has one")  # for the docs
KEY_PROTOCOL = "openai-insecure-api-key."
KEY_REQUIRED = "this server requires its key: Authorization: Bearer KEY"
TOO_LARGE = f"a file may have at most {upload_limits.MAX_MEGABYTES} MB"
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # proxies must not buffer events

ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
Granularity = Literal["word", "segment"]


class ApiError(Exception):
    """A request that is refused: HTTP status, message, the wrong field, and an error code."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code


class ErrorResponse(BaseModel):
    error: ErrorDetail


class AccessMiddleware:
    """Refuses /v1 requests without the key, and too large ones, before their body is read."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app, self.key = app, key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and scope["path"].startswith("/v1/"):
            headers = Headers(scope=scope)
            if self.key and not hmac.compare_digest(_request_key(headers), self.key):
                if scope["type"] == "websocket":
                    return await WebSocketClose(1008, KEY_REQUIRED)(scope, receive, send)
                error = ApiError(401, KEY_REQUIRED, code="invalid_api_key")
                return await _error_response(error)(scope, receive, send)
            length = headers.get("content-length", "")
            if scope["type"] == "http" and length.isdecimal() and int(length) > MAX_BYTES:
                return await _error_response(ApiError(413, TOO_LARGE))(scope, receive, send)
        await self.app(scope, receive, send)


def _request_key(headers: Headers) -> bytes:
    """The request's key, from its Authorization header or, since pages cannot set one on a WebSocket, its protocol."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return key.encode()
    protocols = [protocol.strip() for protocol in headers.get("sec-websocket-protocol", "").split(",")]
    keys = (protocol.removeprefix(KEY_PROTOCOL) for protocol in protocols if protocol.startswith(KEY_PROTOCOL))
    return next(keys, "").encode()


class TranscriptionForm:
    """The fields of a transcription request."""

    FIELDS = frozenset(
        "file model language prompt hotwords response_format timestamp_granularities[] temperature stream "
        "chunking_strategy".split()
    )

    def __init__(
        self,
        file: Annotated[UploadFile, File(description="audio or video, in any format that FFmpeg reads")],
        model: Annotated[str, Form(description=f"this model's id, or {MODEL_ALIAS}")] = MODEL_ALIAS,
        language: Annotated[str, Form(description="the model's own; any other is refused")] = "",
        prompt: Annotated[str, Form(max_length=MAX_CHARACTERS, description="text that came before")] = "",
        hotwords: Annotated[str, Form(max_length=MAX_CHARACTERS, description="names and terms to expect: A, B")] = "",
        response_format: Annotated[ResponseFormat, Form()] = "json",
        granularities: Annotated[list[Granularity] | None, Form(alias="timestamp_granularities[]")] = None,
        temperature: Annotated[float, Form(ge=0, le=1)] = 0.0,
        stream: Annotated[bool, Form(description="respond with server-sent events; for json and text")] = False,
        chunking_strategy: Annotated[Literal["auto"], Form(description="audio is always cut at pauses")] = "auto",
    ) -> None:
        self.file, self.model, self.language = file, model, language
        self.format, self.granularities, self.stream = response_format, frozenset(granularities or ()), stream
        self.options = DecodingOptions(prompt, parse_hotwords(hotwords), temperature)

    @property
    def needs_words(self) -> bool:
        """Whether the response has words, or subtitles that are cut at words."""
        return self.format in ("srt", "vtt", "verbose_json")

    async def check(self, request: Request, model: str, language: str) -> None:
        """Raise `ApiError` if a field asks for something unsupported."""
        form = await request.form()
        for name in form:
            if name not in TranscriptionForm.FIELDS:
                raise ApiError(400, f"there is no field {name[:80]!r} here", name[:80])
        if len(form.getlist("file")) > 1:
            raise ApiError(400, "one file at a time: this request holds several", "file")
        _check_model(self.model, model)
        names = {language, *(name.lower() for name in SPEECH_LANGUAGES.get(language, ()))}
        if self.language and self.language.lower().split("-")[0] not in names:
            message = f"the model writes {language_name(language)}, not {self.language[:80]!r}"
            raise ApiError(400, message, "language")
        if self.granularities and self.format != "verbose_json":
            field = "timestamp_granularities[]"
            raise ApiError(400, f"{field} goes with response_format verbose_json, not {self.format}", field)
        if self.stream and self.needs_words:
            raise ApiError(400, f"stream goes with response_format json or text, not {self.format}", "stream")


@dataclass(frozen=True)
class TranscriptionResponse:
    """A transcript in the response format of its request."""

    transcript: Transcript
    form: TranscriptionForm
    tokenize: Callable[[str], list[int]]

    def render(self) -> Response:
        text, response_format = self.transcript.text, self.form.format
        if response_format == "json":
            return JSONResponse({"text": text, "usage": usage(self.transcript.seconds)})
        if response_format == "verbose_json":
            return JSONResponse(self._verbose())
        if response_format == "text":
            return PlainTextResponse(f"{text}\n")
        media_type = "text/vtt" if response_format == "vtt" else "application/x-subrip"
        content = format_transcript(self.transcript, response_format)
        return Response(content, media_type=f"{media_type}; charset=utf-8")

    def _verbose(self) -> dict[str, Any]:
        transcript, granularities = self.transcript, self.form.granularities or {"segment"}
        response: dict[str, Any] = {
            "task": "transcribe", "language": language_name(transcript.language).lower(),
            "duration": transcript.seconds, "text": transcript.text, "usage": usage(transcript.seconds),
        }  # fmt: skip
        if "segment" in granularities:
            response["segments"] = [self._segment(index, segment) for index, segment in enumerate(transcript.segments)]
        if "word" in granularities:
            words = (word for segment in transcript.segments for word in segment.words)
            response["words"] = [{"word": word.text, "start": word.start, "end": word.end} for word in words]
        return response

    def _segment(self, index: int, segment: Segment) -> dict[str, Any]:
        return {
            "id": index, "seek": round(100 * segment.start), "start": segment.start, "end": segment.end,
            "text": segment.text, "tokens": self.tokenize(segment.text),
            "temperature": self.form.options.temperature, "avg_logprob": segment.log_probability,
            "compression_ratio": round(compression_ratio(segment.text), 3), "no_speech_prob": segment.no_speech,
        }  # fmt: skip


def build_api(transcriber: Transcriber, health: Callable[[], Awaitable[dict[str, Any]]]) -> FastAPI:
    """The application for programs: /v1, /health, /metrics, and /docs with /openapi.json.

    /v1 requires API_KEY if it is set. CORS_ORIGINS lists the sites, separated by commas, whose pages may call it.
    """
    slots = RequestSlots(transcriber.callers)
    metrics = Metrics(slots)
    engine = Engine(transcriber, slots, metrics.count_transcription)
    model = _describe_model(transcriber.release)
    api = FastAPIOffline(
        title=f"{model['id']}: speech to text", version="1", redoc_url=None,
        description="OpenAI's API for transcriptions, with a fine-tuned Whisper.",
    )  # fmt: skip
    _add_error_handlers(api)
    api.add_middleware(AccessMiddleware, key=os.environ.get("API_KEY", ""))
    api.add_middleware(MetricsMiddleware, metrics=metrics, routes=frozenset([TRANSCRIPTIONS, "/v1/models"]))
    if origins := [origin.strip() for origin in os.environ.get("CORS_ORIGINS", "").split(",") if origin.strip()]:
        api.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"])
    guarded: dict[str, Any] = {"dependencies": [Depends(BEARER)], "responses": {"4XX": {"model": ErrorResponse}}}

    api.add_api_route("/health", health, summary="Which model is served, and for how long")

    @api.get("/metrics", response_class=PlainTextResponse, summary="Metrics for Prometheus")
    async def get_metrics() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)

    @api.get("/v1/models", summary="The models: one", **guarded)
    async def list_models() -> dict[str, Any]:
        return {"object": "list", "data": [model]}

    @api.get("/v1/models/{name:path}", summary="A model", **guarded)
    async def get_model(name: str) -> dict[str, Any]:
        _check_model(name, model["id"])
        return model

    @api.post("/v1/audio/translations", include_in_schema=False, **guarded)
    async def translate_audio() -> None:
        message = f"the model writes {language_name(transcriber.language)} and does not translate"
        raise ApiError(400, message, code="unsupported")

    @api.post(
        TRANSCRIPTIONS, response_model=None, max_body_size=MAX_BYTES,
        summary="Transcribe an audio or video file", **guarded,
    )  # fmt: skip
    async def transcribe(request: Request, form: Annotated[TranscriptionForm, Depends()]) -> Response:
        await form.check(request, model["id"], transcriber.language)
        sound = await engine.read(lambda: _read_file(form.file))
        if form.stream:
            slots.check()  # the status cannot change once the response has started
            events = _stream_events(engine, sound, form)
            return StreamingResponse(events, media_type="text/event-stream", headers=STREAM_HEADERS)
        segments = await engine.transcribe(sound, form.options, form.needs_words, request.receive)
        transcript = transcriber.transcript(sound.samples, segments)
        return TranscriptionResponse(transcript, form, transcriber.tokens).render()

    api.add_api_websocket_route("/v1/realtime", RealtimeEndpoint(transcriber).handle)
    return api


def language_name(language: str) -> str:
    """The English name of a language code, or the code where no name is known."""
    return SPEECH_LANGUAGES.get(language, (language,))[0]


def _check_model(name: str, model: str) -> None:
    if name not in (model, MODEL_ALIAS):
        raise ApiError(404, f"there is no model {name[:80]!r} here, only {model}", "model", "model_not_found")


def _describe_model(release: dict[str, Any]) -> dict[str, Any]:
    """The model object of OpenAI's API."""
    try:
        created = int(datetime.fromisoformat(str(release.get("created"))).timestamp())
    except ValueError:
        created = 0
    name = str(release.get("name") or "whisper")
    return {"id": name, "object": "model", "created": created, "owned_by": "whisper-flow"}


def _read_file(file: UploadFile) -> Sound:
    try:
        return audio_files.read_open_file(file.file)
    except audio_files.AudioFileError as error:
        status = FILE_STATUS.get(error.key, 400)
        raise ApiError(status, translate(error.key, "en", **error.values), "file", error.key) from None


async def _stream_events(engine: Engine, sound: Sound, form: TranscriptionForm) -> AsyncIterator[str]:
    """Server-sent events: each segment's text, and at last the whole text."""
    joint, texts = engine.transcriber.joint, list[str]()
    try:
        async for segment in engine.stream(sound, form.options):
            yield _encode_event("transcript.text.delta", delta=(joint if texts else "") + segment.text)
            texts.append(segment.text)
    except (TooManyRequests, OutOfMemory) as error:
        yield _encode_event("error", error=error_detail(RETRY_STATUS[type(error)], str(error)))
        return
    seconds = len(sound.samples) / audio_files.RATE
    yield _encode_event("transcript.text.done", text=joint.join(texts), usage=usage(seconds))
    yield "data: [DONE]\n\n"


def _encode_event(kind: str, **values: Any) -> str:
    return f"data: {json.dumps({'type': kind, **values}, ensure_ascii=False)}\n\n"


def _error_response(error: ApiError, headers: Any = None) -> Response:
    if error.status == 401:
        headers = {"WWW-Authenticate": "Bearer"}
    detail = error_detail(error.status, str(error), error.param, error.code)
    return JSONResponse({"error": detail}, error.status, headers)


def _add_error_handlers(api: FastAPI) -> None:
    """Answer every error in OpenAI's form."""

    @api.exception_handler(ApiError)
    async def handle_api_error(_: Request, error: ApiError) -> Response:
        return _error_response(error)

    @api.exception_handler(TooManyRequests)
    @api.exception_handler(OutOfMemory)
    async def handle_retry(_: Request, error: TooManyRequests | OutOfMemory) -> Response:
        # Close the connection: left idle for so long, it might be closed here just as the next request is sent.
        headers = {"Retry-After": str(error.seconds), "Connection": "close"}
        return _error_response(ApiError(RETRY_STATUS[type(error)], str(error)), headers)

    @api.exception_handler(RequestValidationError)
    async def handle_validation_error(request: Request, error: RequestValidationError) -> Response:
        content_type = request.headers.get("content-type", "")
        if request.url.path == TRANSCRIPTIONS and not content_type.startswith("multipart/form-data"):
            message = f"the request must be multipart/form-data, not {content_type[:80] or 'untyped'}"
            return _error_response(ApiError(415, message))
        first = error.errors()[0]
        field = str(first["loc"][1])
        reason = "must be a file, sent with the request" if field == "file" else first["msg"]
        return _error_response(ApiError(400, f"{field}: {reason}", field, first["type"]))

    @api.exception_handler(HTTPException)
    async def handle_http_error(_: Request, error: HTTPException) -> Response:
        message = TOO_LARGE if error.status_code == 413 else str(error.detail)
        return _error_response(ApiError(error.status_code, message), error.headers)
