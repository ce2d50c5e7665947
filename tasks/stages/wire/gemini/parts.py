"""Message content as Gemini's parts: text, and OpenAI's content parts said in Gemini's words.

https://ai.google.dev/api/caching#Part; https URLs as `fileUri`: https://ai.google.dev/gemini-api/docs/file-input-methods.
"""

from __future__ import annotations

import mimetypes
import re
from typing import Any

from configs.errors import ConfigError
from tasks.stages.prompt.render import Leaves, templated
from tasks.stages.prompt.row_files import Media, RowFiles
from tasks.stages.prompt.values_sent import SentAs
from tasks.stages.wire.file_parts import asks_for_files, column_of

# Gemini's own parts pass as they are written.
OWN_PARTS = frozenset({
    "text", "inlineData", "inline_data", "fileData", "file_data", "functionCall", "function_call",
    "functionResponse", "function_response", "videoMetadata", "video_metadata", "mediaResolution",
    "media_resolution", "thought", "thoughtSignature", "thought_signature", "executableCode", "executable_code",
    "codeExecutionResult", "code_execution_result",
})  # fmt: skip

# https://ai.google.dev/gemini-api/docs/image-understanding, https://ai.google.dev/gemini-api/docs/document-processing
_PICTURES = frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"})
# No sounds and videos: their rates are not those of text, and a row cannot say that it has some.
_DOCUMENTS = frozenset({"application/pdf"})
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,")
_URL = re.compile(r"(?:https?|gs)://")


def parts(content: Any, name: str, leaves: Leaves = templated) -> list[Any]:
    """The parts of a message. `name` is the content's place in the job file."""
    if isinstance(content, str):
        return [{"text": leaves(content, name)}]
    return [_part(part, f"{name}[{i}]", leaves) for i, part in enumerate(content)]


def _part(part: dict[str, Any], name: str, leaves: Leaves) -> Any:
    kind = part.get("type")
    if asks_for_files(part):
        takes = _PICTURES if kind == "image" else _DOCUMENTS
        return RowFiles(column_of(part, name, leaves), name, takes, _inline)
    if kind is None and part.keys() <= OWN_PARTS and part:
        own: dict[str, Any] = leaves(part, name)
        return own
    match kind:
        case "text" | "input_text" | "output_text":
            _only(part, name, "type", "text")
            if not isinstance(part.get("text"), str):
                raise ConfigError(f"{name}.text: must be text, not {part.get('text')!r}")
            return {"text": leaves(part["text"], f"{name}.text")}
        case "image_url" | "input_image":
            return _image(part, name, leaves)
        case "input_audio":
            _only(part, name, "type", "input_audio")
            audio = part.get("input_audio")
            if not isinstance(audio, dict) or audio.keys() != {"data", "format"}:
                raise ConfigError(f"{name}.input_audio: needs data and format, e.g. wav")
            data = leaves(audio["data"], f"{name}.input_audio.data")
            return {"inlineData": {"mimeType": f"audio/{audio['format']}", "data": data}}
        case "file" | "input_file":
            return _file(part, name, leaves)
    raise ConfigError(
        f"{name}: Gemini has no such part; write one of type text, image_url, input_audio or file, or Gemini's own,"
        " e.g. {inlineData: {mimeType: image/png, data: ...}}"
    )


def _inline(media: Media) -> dict[str, Any]:
    return {"inlineData": {"mimeType": media.kind, "data": media.data}}


def _image(part: dict[str, Any], name: str, leaves: Leaves) -> dict[str, Any]:
    _only(part, name, "type", "image_url", "detail")
    where, detail = f"{name}.image_url", part.get("detail")
    image: Any = part.get("image_url")
    if isinstance(image, dict):
        _only(image, where, "url", "detail")
        where, image, detail = f"{where}.url", image.get("url"), image.get("detail", detail)
    if detail not in (None, "auto"):
        raise ConfigError(f"{name}: Gemini knows no detail of an image; set params.mediaResolution instead")
    return _media(image, where, leaves)


def _file(part: dict[str, Any], name: str, leaves: Leaves) -> dict[str, Any]:
    inner = part.get("file", part)
    given = {key: value for key, value in inner.items() if key not in ("type", "filename")}
    if len(given) == 1 and given.keys() <= {"file_data", "file_url"}:
        [(key, url)] = given.items()
        return _media(url, f"{name}.{key}", leaves)
    raise ConfigError(
        f"{name}: Gemini needs the file itself; give file_data: data:application/pdf;base64,..."
    )


def _media(url: Any, name: str, leaves: Leaves) -> dict[str, Any]:
    """Inline bytes from a data URL, or a reference. What it is must be seen before any row is."""
    found = _DATA_URL.match(url) if isinstance(url, str) else None
    if found is not None:
        data = leaves(url[found.end() :], name, SentAs.BASE64)
        return {"inlineData": {"mimeType": found[1], "data": data}}
    if isinstance(url, str) and _URL.match(url):
        kind = mimetypes.guess_type(url)[0]
        return {"fileData": ({"mimeType": kind} if kind else {}) | {"fileUri": leaves(url, name)}}
    raise ConfigError(
        f"{name}: Gemini must be told what comes; begin it with https:// or, for a column of bytes, write"
        " data:image/png;base64,{{ column | b64encode }}"
    )


def _only(part: dict[str, Any], name: str, *known: str) -> None:
    unknown = sorted(part.keys() - set(known))
    if unknown:
        raise ConfigError(f"{name}.{unknown[0]}: Gemini has nothing like it; remove it")
