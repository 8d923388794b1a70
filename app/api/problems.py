"""Errors as `application/problem+json` (RFC 9457): one table from our exceptions to status and title."""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Match

from app.api.statuses import BY_CODE, PLAIN, TABLE
from app.errors import AppError, TurnedAway, Unsupported
from app.logs import request_id

RETRY_AFTER = "2"
# Nginx says it asks another backend when a backend that is leaving answers with this (nginx/server.conf).
PASSES_ON = "X-Passes-On"
ELSEWHERE = Response(status_code=503, headers={"X-Accel-Redirect": "@another"})

openai_door: ContextVar[bool] = ContextVar(
    "openai_door", default=False
)  # whether OpenAI's clients read errors


class Problem(BaseModel):
    """What every error looks like."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    request_id: str


class ProblemResponse(JSONResponse):
    media_type = "application/problem+json"


def problem(
    status: int, code: str, title: str, detail: str, *, retry_after: int | None = None, **extra: Any
) -> JSONResponse:
    """One error answer."""
    told = Problem(title=title, status=status, detail=detail, code=code, request_id=request_id.get())
    headers = {"Retry-After": str(retry_after or RETRY_AFTER)} if status in (429, 503) else None
    if status == 401:
        headers = {"WWW-Authenticate": "Bearer"}
    if not openai_door.get():
        return ProblemResponse(told.model_dump() | extra, status, headers)
    return _openai(told, extra, headers or {})


def _openai(told: Problem, extra: dict[str, Any], headers: dict[str, str]) -> JSONResponse:
    """The same with the member that OpenAI's clients read."""
    kind = "invalid_request_error" if told.status < 500 else "server_error"
    place = extra.get("errors") or [{"loc": []}]
    param = extra.pop("param", None) or ".".join(map(str, place[0]["loc"][1:])) or None
    error = {"message": told.detail, "type": kind, "param": param, "code": told.code}
    if told.status in (409, 502):  # its model has been asked, or would be refused again
        headers["x-should-retry"] = "false"
    return JSONResponse(told.model_dump() | extra | {"error": error}, told.status, headers)


def plain(status: int, told: str | None = None) -> JSONResponse:
    """The error answer for a status; `told` where it needs other words than usual."""
    code, title, detail = PLAIN.get(status, ("error", "Error", "The request could not be answered."))
    detail = told or detail
    extra: dict[str, Any] = {"errors": [{"loc": ["body"], "msg": detail}]} if status == 422 else {}
    return problem(status, code, title, detail, **extra)


def install(app: FastAPI) -> None:
    """Registers the table with the application."""
    app.add_exception_handler(AppError, _expected)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)
    describe = app.openapi

    def described() -> dict[str, Any]:
        schema = describe()
        schema["components"]["schemas"].setdefault("Problem", Problem.model_json_schema())
        for path, operations in schema["paths"].items():
            if path.startswith("/v1/"):
                _as_plain_json(operations)
        return schema

    app.openapi = described  # type: ignore[method-assign]  # the way FastAPI documents


def _as_plain_json(operations: dict[str, Any]) -> None:
    """Under `/v1/` an error is plain JSON, as the clients of that door read it."""
    for operation in operations.values():
        for answer in operation["responses"].values():
            content = answer.get("content", {})
            if problem_schema := content.pop(ProblemResponse.media_type, None):
                content["application/json"] = problem_schema


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, for the API description."""
    described = {status: title for status, (_, title, _) in PLAIN.items()}
    described |= {status: title for _, (status, title) in TABLE.items()}
    described |= {
        422: "Something in the request is malformed",
        503: "Redis is away, or the backend is full or leaving",
    }
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": described[status], "content": content} for status in (*statuses, 401, 422)
    }


async def _expected(request: Request, error: Exception) -> Response:
    assert isinstance(error, AppError)  # noqa: S101  # what it is registered for
    if isinstance(error, TurnedAway) and PASSES_ON in request.headers:
        return ELSEWHERE
    status, title = next(row for kind, row in TABLE.items() if isinstance(error, kind))
    status = BY_CODE.get(error.code, status)
    after = getattr(error, "retry_after", None)
    extra = error.extra | ({"param": error.param} if isinstance(error, Unsupported) else {})
    return problem(status, error.code, title, error.detail, retry_after=after, **extra)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # what it is registered for
    found = [
        {"loc": _faulty_place(one["loc"]), "msg": one["msg"].removeprefix("Value error, ")}
        for one in error.errors()[:20]
    ]
    told = _sentence(found)
    if any(one["loc"] == ["body"] for one in found) and "json" not in request.headers.get("content-type", ""):
        told = "The body must come with the header Content-Type: application/json."
    return problem(422, "invalid", "Invalid request", told, errors=found)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  # what it is registered for
    if error.status_code == 400:  # FastAPI's answer to a body it cannot read at all
        return plain(422, "The body cannot be read as JSON.")
    answer = plain(error.status_code)
    if error.status_code == 405:
        answer.headers["Allow"] = ", ".join(_methods(request))
    return answer


def _methods(request: Request) -> list[str]:
    """What this address does answer to, over all routes: Starlette names the methods of one of them."""
    if request.url.path.startswith("/static/"):
        return ["GET", "HEAD"]
    found = [
        method
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL for route in _routes(request)
        )
    ]
    return [*found, "HEAD"] if "GET" in found else found


def _routes(request: Request) -> list[BaseRoute]:
    found: list[BaseRoute] = request.app.routes
    return found


async def _unexpected(_: Request, __: Exception) -> JSONResponse:
    return problem(
        500, "internal", "Internal error", "Something went wrong here. The log has it under this request id."
    )


def _faulty_place(loc: Sequence[int | str]) -> list[int | str]:
    """Where the fault is; names made up by the caller are left out, positions kept."""
    return [
        part if isinstance(part, int) or (len(part) <= 40 and part.isidentifier()) else "?" for part in loc
    ]


def _sentence(found: list[dict[str, Any]]) -> str:
    if not found:
        return "The request is malformed."
    where = ".".join(str(part) for part in found[0]["loc"][1:]) or "body"
    return f"{where}: {found[0]['msg']}."
