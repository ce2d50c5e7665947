"""Parse lines of a file of ready requests: whose they are, what they ask of whom, and their own bytes, unchanged.

The forms: OpenAI's `{"custom_id", "method", "url", "body"}`, Anthropic's `{"custom_id", "params"}`, Gemini's
`{"key", "request"}`. What a service would refuse a whole batch for is refused here, with the reason.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple, get_args

import msgspec
import orjson

from configs.prompt import Endpoint
from configs.providers.base import Dialect
from configs.providers.billing import ANSWER_CAPS, BILLED_PARAMS, has_fee
from configs.providers.registry import PROVIDERS
from tasks.stages.read.json_depth import MAX_DEPTH, is_too_deep
from tasks.stages.validate import MODEL_OPTIONAL, REQUIRED_BY_ENDPOINT

MODEL_BY_DEFAULT: Final = "default"
"""Stands for the model where a request names none and its endpoint has one of its own."""

_UNIFORM: Final = sorted({name for each in PROVIDERS.values() for name in each.limits.uniform})
_ENDPOINTS: Final = frozenset(get_args(Endpoint))
_MEDIA: Final = re.compile(
    rb'"(?:type|mimeType|mime_type|media_type)"\s*:\s*"((?:input_)?(?:image|audio|video|file|document)(?:_url|/[^"]{1,60})?)"'
)
_NONE: Final = msgspec.Raw()


class RequestLine(NamedTuple):
    """One request. `tail` is its line after the id; `facts` is JSON of the params by which it is billed and grouped, `media`
    among them: the kinds of its parts that are no text. `model` is None where the form names none."""

    form: Dialect
    custom_id: str
    url: str | None
    endpoint: str
    model: str | None
    tail: bytes
    facts: str


class _Envelope(msgspec.Struct):
    custom_id: Any = None
    method: Any = None
    url: Any = None
    body: msgspec.Raw = _NONE
    params: msgspec.Raw = _NONE
    key: Any = None
    request: msgspec.Raw = _NONE


_CONFIGS: Final = ("generationConfig", "generation_config")  # where Gemini's requests have some of them
_FACTS: Final = ("n", *ANSWER_CAPS, *BILLED_PARAMS, *_UNIFORM)
_Facts = msgspec.defstruct("_Facts", [(name, Any, None) for name in (*_FACTS, *_CONFIGS)], omit_defaults=True)


class _Body(msgspec.Struct):
    model: Any = None
    stream: Any = None
    max_tokens: Any = None
    messages: msgspec.Raw = _NONE
    input: msgspec.Raw = _NONE
    prompt: msgspec.Raw = _NONE
    contents: msgspec.Raw = _NONE
    content: msgspec.Raw = _NONE


_envelope = msgspec.json.Decoder(_Envelope).decode
_body = msgspec.json.Decoder(_Body).decode
_params = msgspec.json.Decoder(_Facts).decode


def parse_request(line: bytes) -> RequestLine:
    """The request of one line, blanks around it taken off. ValueError says what is wrong with it."""
    if is_too_deep(line):
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep; write it flatter")
    str(line, "utf-8")
    try:
        # msgspec does not look into what it takes as raw: numbers beyond all others, for one.
        orjson.loads(line)
        envelope = _envelope(line)
    except msgspec.ValidationError:
        raise ValueError("not an object; write one request a line") from None
    except (orjson.JSONDecodeError, msgspec.DecodeError) as error:
        raise ValueError(f"not JSON ({error}); write one request a line") from None
    return _READERS[_form_of(envelope)](envelope)


def _form_of(envelope: _Envelope) -> Dialect:
    if envelope.body is not _NONE and envelope.params is envelope.request is _NONE and envelope.key is None:
        return "openai"
    found = [
        form
        for form, marks in (
            ("openai", (envelope.body, envelope.url, envelope.method)),
            ("anthropic", (envelope.params,)),
            ("gemini", (envelope.request, envelope.key)),
        )
        if any(mark is not None and mark is not _NONE for mark in marks)
    ]
    if len(found) > 1:
        raise ValueError(f"mixes the forms of {' and '.join(found)}; write it in one")
    if not found:
        raise ValueError(
            "no request: it has neither url and body, nor params (Anthropic), nor request (Gemini); correct it"
        )
    return found[0]  # type: ignore[return-value] # one of the three above


def _openai(envelope: _Envelope) -> RequestLine:
    custom_id = _id(envelope.custom_id, "custom_id")
    if envelope.method != "POST":
        raise ValueError(f"method {_shown(envelope.method)}; it must be POST")
    url = envelope.url
    if not isinstance(url, str) or url not in _ENDPOINTS:
        raise ValueError(f"url {_shown(url)} is no batch endpoint; known: {', '.join(sorted(_ENDPOINTS))}")
    body = _read_body(envelope.body, "body")
    model = _model(body, optional=url in MODEL_OPTIONAL)
    needed = REQUIRED_BY_ENDPOINT[url]
    _require(body, needed, f"body.{needed[0]}")
    if url == "/v1/embeddings" and _asks_for_several(body.input):
        raise ValueError("body.input: several texts in one request; write a line for each of them")
    tail = b',"method":"POST","url":%b,"body":%b}' % (msgspec.json.encode(url), bytes(envelope.body))
    return RequestLine("openai", custom_id, url, url, model, tail, _facts(envelope.body))


def _anthropic(envelope: _Envelope) -> RequestLine:
    custom_id = _id(envelope.custom_id, "custom_id")
    body = _read_body(envelope.params, "params")
    model = _model(body, optional=False)
    _require(body, ("messages",), "params.messages")
    _require(body, ("max_tokens",), "params.max_tokens")
    tail = b',"params":%b}' % bytes(envelope.params)
    facts = _facts(envelope.params)
    return RequestLine("anthropic", custom_id, None, "/v1/chat/completions", model, tail, facts)


def _gemini(envelope: _Envelope) -> RequestLine:
    custom_id = _id(envelope.key, "key")
    body = _read_body(envelope.request, "request")
    _require(body, ("contents", "content"), "request.contents")
    embeds = body.content is not _NONE
    endpoint = "/v1/embeddings" if embeds else "/v1/chat/completions"
    tail = b',"request":%b}' % bytes(envelope.request)
    return RequestLine("gemini", custom_id, None, endpoint, None, tail, _facts(envelope.request))


_READERS: Final = {"openai": _openai, "anthropic": _anthropic, "gemini": _gemini}


def _id(value: Any, name: str) -> str:
    if value is None or value == "":
        raise ValueError(f"no {name}; every request needs one of its own")
    if not isinstance(value, str):
        raise ValueError(f"{name} {_shown(value)} is no text; put it in quotes")  # noqa: TRY004 - one kind of error for a line
    return value


def _read_body(raw: msgspec.Raw, name: str) -> _Body:
    if raw is _NONE:
        raise ValueError(f"no {name}; it holds the request")
    try:
        return _body(raw)
    except msgspec.ValidationError:
        raise ValueError(f"{name} is no object; it holds the request") from None


def _model(body: _Body, *, optional: bool) -> str:
    if body.stream:
        raise ValueError("stream: batches cannot stream; remove it")
    if body.model is None and optional:
        return MODEL_BY_DEFAULT
    if not body.model:
        raise ValueError("no model; name it in the request")
    if not isinstance(body.model, str):
        raise ValueError(f"model {_shown(body.model)} is no text; put it in quotes")  # noqa: TRY004 - as above
    if not body.model.isprintable():
        raise ValueError(f"model {_shown(body.model)} holds control characters; correct it")
    if "{{" in body.model or "{%" in body.model:
        raise ValueError(f"model {_shown(body.model)} is a template that nobody has filled in; correct it")
    return body.model


def _require(body: _Body, names: tuple[str, ...], shown: str) -> None:
    if all(bytes(_value(body, name)) in (b"", b"null") for name in names):
        raise ValueError(f"no {shown}; the service refuses the whole batch without it")


def _value(body: _Body, name: str) -> Any:
    value = getattr(body, name)
    return value if isinstance(value, msgspec.Raw) else b"" if value is None else b"there"


def _asks_for_several(value: msgspec.Raw) -> bool:
    """Whether an embeddings request has several inputs; a list of numbers is one, given as tokens."""
    if not bytes(value).startswith(b"["):
        return False
    items = msgspec.json.decode(value, type=list[msgspec.Raw])
    return len(items) > 1 and bytes(items[0])[:1] in (b'"', b"[")


def _facts(raw: msgspec.Raw) -> str:
    params: Any = _params(raw)
    media = sorted({kind.decode(errors="replace") for kind in _MEDIA.findall(raw)})
    if not media and all(getattr(params, name) is None for name in ("tools", *_CONFIGS)):
        return msgspec.json.encode(params).decode()  # as nearly all are
    facts = {name: value for name in _FACTS if (value := getattr(params, name)) is not None}
    for name in _CONFIGS:
        if isinstance(config := getattr(params, name), dict):
            facts |= {key: value for key, value in config.items() if key in _FACTS}
    if "tools" in facts:
        tools = facts["tools"] if isinstance(facts["tools"], list) else [facts["tools"]]
        facts["tools"] = [tool for tool in tools if has_fee(tool)]
    return msgspec.json.encode({**facts, **({"media": media} if media else {})}).decode()


def _shown(value: Any) -> str:
    return repr(value)[:80]
