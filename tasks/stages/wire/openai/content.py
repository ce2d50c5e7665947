"""What a model reads of a request in OpenAI's line format.

A message of chat costs 3 tokens and its role, a name one more, the reply 3: https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tasks.stages.prompt.content import PromptContent
from tasks.stages.wire.openai.picture_tokens import picture_tokens
from tasks.stages.wire.picture_size import picture_size

_MESSAGE, _NAME, _REPLY = 4, 1, 3
_MEDIA: Final = {
    "input_audio": "sounds",
    "file": "documents",
    "input_file": "documents",
    "video_url": "videos",
}
_BASE64 = ";base64,"


def content_of(line: Mapping[str, Any]) -> PromptContent:
    """What the model reads of a request line."""
    return content_of_body(line.get("url", ""), line.get("body") or {})


def content_of_body(url: str, body: Mapping[str, Any]) -> PromptContent:
    """The same of a body for the endpoint `url`."""
    content = PromptContent()
    model = str(body.get("model") or "")
    match url:
        case "/v1/responses":
            _responses(content, body, model)
        case "/v1/embeddings" | "/v1/moderations":
            _inputs(content, body.get("input"), model)
        case "/v1/completions":
            _inputs(content, body.get("prompt"), model)
        case "/v1/images/generations" | "/v1/images/edits" | "/v1/videos":
            _inputs(content, body.get("prompt"), model)
            for name in ("images", "mask", "input_reference"):
                _sent_pictures(content, body.get(name))
        case _:
            _chat(content, body, model)
    return content


def _chat(content: PromptContent, body: Mapping[str, Any], model: str) -> None:
    content.tokens += _REPLY
    for message in body.get("messages") or ():
        _message(content, message, model)
    content.specify(body.get("tools") or body.get("functions"))
    _format(content, body.get("response_format"))


def _responses(content: PromptContent, body: Mapping[str, Any], model: str) -> None:
    content.tokens += _REPLY
    given = body.get("input")
    items = [{"content": given}] if isinstance(given, str) else given or ()
    for message in ({"content": body["instructions"]},) if body.get("instructions") else ():
        _message(content, message, model)
    for item in items:
        _message(content, item, model)
    content.specify(body.get("tools"))
    _format(content, (body.get("text") or {}).get("format") if isinstance(body.get("text"), dict) else None)


def _format(content: PromptContent, asked: Any) -> None:
    """The schema that the answer must satisfy: nested in chat, flat in responses."""
    if isinstance(asked, dict):
        nested = asked.get("json_schema")
        content.specify((nested if isinstance(nested, dict) else asked).get("schema"))


def _message(content: PromptContent, message: Any, model: str) -> None:
    if not isinstance(message, dict):
        return
    content.tokens += _MESSAGE
    if isinstance(message.get("name"), str):
        content.tokens += _NAME
        content.texts.append(message["name"])
    _parts(content, message.get("content"), model)
    content.specify(message.get("tool_calls"))
    for name in ("arguments", "output"):  # calls and their results, as items of a response
        if isinstance(message.get(name), str):
            content.texts.append(message[name])


def _parts(content: PromptContent, parts: Any, model: str) -> None:
    if isinstance(parts, str):
        content.texts.append(parts)
        return
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, str):
            content.texts.append(part)
        elif isinstance(part, dict):
            _part(content, part, model)


def _part(content: PromptContent, part: Mapping[str, Any], model: str) -> None:
    kind = part.get("type")
    if isinstance(part.get("text"), str):
        content.texts.append(part["text"])
    elif kind in ("image_url", "input_image"):
        image = part.get("image_url")
        options = image if isinstance(image, dict) else {**part, "url": image}
        _picture(content, options.get("url"), str(options.get("detail") or "auto"), model)
    elif kind in _MEDIA:
        _other_media(content, part, _MEDIA[str(kind)])


def _picture(content: PromptContent, url: Any, detail: str, model: str) -> None:
    place = url.find(_BASE64) if isinstance(url, str) and url[:5].lower() == "data:" else -1
    # Sliced, so that the rest of a large picture is not copied; a JPEG says its size within the first megabyte.
    start = place + len(_BASE64)
    size = picture_size(url[start : start + (1 << 20)]) if place >= 0 else None
    content.show(url, picture_tokens(model, size, detail))


def _sent_pictures(content: PromptContent, pictures: Any) -> None:
    """Pictures to make others from."""
    for picture in pictures if isinstance(pictures, list) else [pictures]:
        if isinstance(picture, dict):
            content.show(picture.get("image_url"), None)


def _other_media(content: PromptContent, node: Any, kind: str) -> None:
    """Every text in the part but its type is bytes, or where they are."""
    content.show(None, None, kind)
    stack = [node]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            stack += value.values()
        elif isinstance(value, str):
            content.media_bytes += len(value.encode())


def _inputs(content: PromptContent, value: Any, model: str) -> None:
    """A text, several, token ids, or parts of a message."""
    if isinstance(value, list) and value and isinstance(value[0], int):
        content.tokens += len(value)
    elif isinstance(value, list) and value and isinstance(value[0], list):
        content.tokens += sum(map(len, value))
    else:
        _parts(content, value, model)
