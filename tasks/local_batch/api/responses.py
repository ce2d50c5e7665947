"""Replies in OpenAI's shapes: objects, pages and errors."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tasks.local_batch.protocol.batch_object import ApiError


def reply(value: Any, status: int = 200) -> Response:
    """A JSON reply."""
    return Response(orjson.dumps(value), status, media_type="application/json")


def page(found: list[dict[str, Any]], limit: int) -> Response:
    """A page of a list; `found` holds one more than `limit` when there are more."""
    data = found[:limit]
    return reply(
        {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
            "has_more": len(found) > limit,
        }
    )


def no_file(file_id: str) -> ApiError:
    """404 for a file."""
    return ApiError(404, f"No such File object: {file_id}", param="id")


def unknown_cursor(after: str) -> ApiError:
    """400 for an `after` that does not exist."""
    return ApiError(400, f"Invalid 'after': '{after}' does not exist.", param="after", code="invalid_value")


def on_api_error(_: Request, error: Exception) -> Response:
    """Starlette's hook."""
    if not isinstance(error, ApiError):
        raise error
    return reply(error.body(), error.status)


def on_http_error(request: Request, error: Exception) -> Response:
    """Starlette's hook: unknown addresses and methods."""
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code in (404, 405):
        return reply(
            ApiError(error.status_code, f"Invalid URL ({request.method} {request.url.path})").body(),
            error.status_code,
        )
    return reply(ApiError(error.status_code, error.detail).body(), error.status_code)


def on_any_error(_: Request, error: Exception) -> Response:
    """Starlette's hook: what nobody expected."""
    message = f"The server had an error while processing your request ({type(error).__name__}); see its log."
    return reply(ApiError(500, message).body(), 500)
