"""HTTP responses in OpenAI's shapes: objects, pages of a list, and errors."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tasks.local_batch.protocol.api_error import ApiError


def json_response(value: Any, status: int = 200) -> Response:
    """The value as a JSON body."""
    return Response(orjson.dumps(value), status, media_type="application/json")


def list_response(objects: list[dict[str, Any]], limit: int) -> Response:
    """A page of a list; `objects` holds one more than `limit` when there are more.

    The SDK's iterators ask on with `after=<last_id>` until `has_more` is false.
    """
    page = objects[:limit]
    return json_response(
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": len(objects) > limit,
        }
    )


def file_not_found(file_id: str) -> ApiError:
    """404 for a file that is unknown, deleted or expired."""
    return ApiError(404, f"No such File object: {file_id}", param="id")


def batch_not_found(batch_id: str) -> ApiError:
    """404 for a batch."""
    return ApiError(404, f"No batch found with id '{batch_id}'.", param="id")


def video_not_found(video_id: str) -> ApiError:
    """404 for a video that no echo made, or whose day is over."""
    return ApiError(404, f"Video with id '{video_id}' not found.", param="video_id")


def unknown_cursor(after: str) -> ApiError:
    """400 for a list call whose `after` names nothing."""
    return ApiError(400, f"Invalid 'after': '{after}' does not exist.", param="after", code="invalid_value")


def on_api_error(_: Request, error: Exception) -> Response:
    """Starlette's exception handler for what the handlers refuse."""
    if not isinstance(error, ApiError):
        raise error
    return json_response(error.body(), error.status)


def on_http_error(request: Request, error: Exception) -> Response:
    """Starlette's exception handler for unknown addresses and methods."""
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code in (404, 405):
        message = f"Invalid URL ({request.method} {request.url.path})"
        return json_response(ApiError(error.status_code, message).body(), error.status_code)
    return json_response(ApiError(error.status_code, error.detail).body(), error.status_code)


def on_unexpected_error(_: Request, error: Exception) -> Response:
    """Starlette's exception handler for everything else; the SDK retries a 500, the log has the traceback."""
    message = f"The server had an error while processing your request ({type(error).__name__}); see its log."
    return json_response(ApiError(500, message).body(), 500)
