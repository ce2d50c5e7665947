"""Pictures and documents of a row in every vendor's words: `{type: image, column: ...}`, `{type: file, column: ...}`."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa
import pytest
from google.genai import types

from configs.errors import ConfigError
from configs.prompt import Prompt
from configs.providers.registry import AnyProvider, provider_class
from fakes import anthropic_rules, gemini_rules
from rigs.pictures import base64_of, gif, jpeg, png, webp
from tasks.stages.prompt.file_cells import FileReader
from tasks.stages.prompt.render import Renderer, Skip
from tasks.stages.wire.formats import dialect
from tasks.stages.wire.openai.refusals import refusals

CHAT, RESPONSES, MODERATIONS = "/v1/chat/completions", "/v1/responses", "/v1/moderations"
PNG, JPEG, PDF = png(500, 300), jpeg(300, 200), b"%PDF-1.7 and so on"
HEIC, WAV = b"\0\0\0\x18ftypheic" + bytes(20), b"RIFF\x24\0\0\0WAVEfmt " + bytes(20)
FILES = {"img/a.png": PNG, "a.txt": JPEG, "r.pdf": PDF}
IMAGE, FILE = {"type": "image", "column": "x"}, {"type": "file", "column": "x"}
HF = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
EVERYWHERE = (("openai", CHAT), ("openai", RESPONSES), ("anthropic", CHAT), ("gemini", CHAT))


def settings(vendor: str) -> AnyProvider:
    return provider_class(vendor).model_validate({"name": vendor})


def lines(vendor: str, prompt: Prompt, cells: pa.Array) -> list[bytes | Skip]:
    batch = pa.record_batch({"x": cells, "t": ["hi"] * len(cells)})
    tree = dialect(settings(vendor).dialect).request_tree(prompt, settings(vendor))
    renderer = Renderer(tree, batch.schema.names)
    [held] = FileReader(renderer.file_columns, FILES.__getitem__, 10_000).held_rows(batch)
    return renderer.lines(batch, [str(row) for row in range(len(cells))], held.files)


def parts(vendor: str, endpoint: str, part: dict[str, Any], cells: pa.Array) -> list[Any]:
    """The parts after the text in each row's message, which the vendor takes; of a skipped row its error code."""
    user = ({"type": "text", "text": "{{ t }}"}, part)
    return [
        line.code if isinstance(line, Skip) else _taken(vendor, endpoint, orjson.loads(line))
        for line in lines(vendor, Prompt(endpoint=endpoint, model="m", user=user), cells)
    ]


def _taken(vendor: str, endpoint: str, line: dict[str, Any]) -> list[Any]:
    match vendor:
        case "anthropic":
            assert anthropic_rules.refuse_row(line["params"], "2026-10-21") is None
            content = line["params"]["messages"][0]["content"]
        case "gemini":
            assert gemini_rules.refuse_row(line, embeds=False) is None
            types.Content.model_validate(line["request"]["contents"][0])
            content = line["request"]["contents"][0]["parts"]
        case _:
            assert list(refusals(endpoint, line["body"])) == []
            said = line["body"]["input" if endpoint != CHAT else "messages"]
            content = said[0]["content"] if endpoint != MODERATIONS else said
    first, *rest = content
    assert first["text"] == "hi"
    return list(rest)


def picture(vendor: str, endpoint: str, kind: str, data: bytes, **detail: str) -> dict[str, Any]:
    url = f"data:{kind};base64,{base64_of(data)}"
    return {
        ("openai", CHAT): {"type": "image_url", "image_url": {"url": url, **detail}},
        ("openai", MODERATIONS): {"type": "image_url", "image_url": {"url": url, **detail}},
        ("openai", RESPONSES): {"type": "input_image", "image_url": url, **detail},
        ("anthropic", CHAT): {
            "type": "image", "source": {"type": "base64", "media_type": kind, "data": base64_of(data)}
        },
        ("gemini", CHAT): {"inlineData": {"mimeType": kind, "data": base64_of(data)}},
    }[vendor, endpoint]  # fmt: skip


def document(vendor: str, endpoint: str, name: str) -> dict[str, Any]:
    url = f"data:application/pdf;base64,{base64_of(PDF)}"
    return {
        ("openai", CHAT): {"type": "file", "file": {"filename": name, "file_data": url}},
        ("openai", RESPONSES): {"type": "input_file", "filename": name, "file_data": url},
        ("anthropic", CHAT): {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": base64_of(PDF)},
        },
        ("gemini", CHAT): {"inlineData": {"mimeType": "application/pdf", "data": base64_of(PDF)}},
    }[vendor, endpoint]


@pytest.mark.parametrize(
    ("kind", "cell", "sent"),
    [
        (pa.string(), "img/a.png", [("image/png", PNG)]),
        (pa.string(), "a.txt", [("image/jpeg", JPEG)]),  # whatever its name says
        (pa.binary(), PNG, [("image/png", PNG)]),
        (HF, {"bytes": PNG, "path": "x.jpg"}, [("image/png", PNG)]),
        (HF, {"bytes": None, "path": "img/a.png"}, [("image/png", PNG)]),
        (pa.list_(pa.string()), ["img/a.png", None, "a.txt"], [("image/png", PNG), ("image/jpeg", JPEG)]),
        (pa.list_(HF), [{"bytes": PNG, "path": None}], [("image/png", PNG)]),
        (pa.string(), None, []),
        (pa.list_(pa.binary()), [], []),
    ],
)
@pytest.mark.parametrize(("vendor", "endpoint"), [*EVERYWHERE, ("openai", MODERATIONS)])
def test_pictures_are_sent_as_the_vendor_wants_them(
    vendor: str, endpoint: str, kind: pa.DataType, cell: Any, sent: list[tuple[str, bytes]]
) -> None:
    wanted = [picture(vendor, endpoint, *each) for each in sent]
    assert parts(vendor, endpoint, IMAGE, pa.array([cell, None], kind)) == [wanted, []]


@pytest.mark.parametrize(("vendor", "endpoint"), EVERYWHERE)
def test_documents_are_sent_as_the_vendor_wants_them(vendor: str, endpoint: str) -> None:
    named = document(vendor, endpoint, "r.pdf")
    assert parts(vendor, endpoint, FILE, pa.array(["r.pdf", None])) == [[named], []]
    assert parts(vendor, endpoint, FILE, pa.array([PDF], pa.binary())) == [
        [document(vendor, endpoint, "file.pdf")]
    ]


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_the_detail_of_a_picture_goes_to_openai(endpoint: str) -> None:
    low = {**IMAGE, "detail": "low"}
    wanted = picture("openai", endpoint, "image/png", PNG, detail="low")
    assert parts("openai", endpoint, low, pa.array([PNG], pa.binary())) == [[wanted]]


@pytest.mark.parametrize(
    ("vendor", "part", "data", "is_taken"),
    [
        *((vendor, IMAGE, webp(b"VP8 ", bytes(20)), True) for vendor in ("openai", "anthropic", "gemini")),
        ("openai", IMAGE, gif(2, 2), True),
        ("anthropic", IMAGE, gif(2, 2), True),
        ("gemini", IMAGE, gif(2, 2), False),
        ("openai", IMAGE, HEIC, False),
        ("anthropic", IMAGE, HEIC, False),
        ("gemini", IMAGE, HEIC, True),
        *((vendor, IMAGE, PDF, False) for vendor in ("openai", "anthropic", "gemini")),
        *((vendor, FILE, PNG, False) for vendor in ("openai", "anthropic", "gemini")),
        *((vendor, IMAGE, b"<svg/>", False) for vendor in ("openai", "anthropic", "gemini")),
        ("openai", FILE, WAV, False),
        ("anthropic", FILE, WAV, False),
        ("gemini", FILE, WAV, False),
    ],
)
def test_what_the_vendor_does_not_read_skips_its_row(
    vendor: str, part: dict[str, Any], data: bytes, is_taken: bool
) -> None:
    [found] = parts(vendor, CHAT, part, pa.array([data], pa.binary()))
    assert (found != "file_unsupported") is is_taken


@pytest.mark.parametrize(("vendor", "endpoint"), EVERYWHERE)
@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ({**IMAGE, "url": "x"}, r"prompt\.user\[0\]\.url: a part with a column has no such key"),
        ({**FILE, "detail": "low"}, r"prompt\.user\[0\]\.detail: "),
        ({"type": "image", "column": ["x"]}, r"prompt\.user\[0\]\.column: must be the name of a column"),
    ],
)
def test_a_part_that_no_row_could_pass_is_an_error(
    vendor: str, endpoint: str, part: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        lines(vendor, Prompt(endpoint=endpoint, model="m", user=(part,)), pa.array(["a"]))


def test_a_detail_is_none_of_anthropics_and_geminis_and_one_of_openais() -> None:
    for vendor, detail in (("anthropic", "low"), ("gemini", "low"), ("openai", "some")):
        with pytest.raises(ConfigError, match=r"prompt\.user\[0\]\.detail"):
            lines(vendor, Prompt(model="m", user=({**IMAGE, "detail": detail},)), pa.array(["a"]))


@pytest.mark.parametrize(("vendor", "endpoint"), EVERYWHERE)
def test_a_conversation_in_a_row_names_no_column(vendor: str, endpoint: str) -> None:
    said = orjson.dumps([{"role": "user", "content": [{"type": "image", "column": "t"}]}]).decode()
    [found] = lines(vendor, Prompt(endpoint=endpoint, model="m", messages_from="x"), pa.array([said]))
    assert isinstance(found, Skip)
    assert "a row's own conversation cannot name a column" in found.message


def test_anthropics_system_takes_no_pictures() -> None:
    messages = ({"role": "system", "content": (IMAGE,)}, {"role": "user", "content": "hi"})
    with pytest.raises(ConfigError, match="system takes text only"):
        lines("anthropic", Prompt.model_validate({"model": "m", "messages": messages}), pa.array(["a"]))


def test_pictures_are_no_part_of_what_is_cached() -> None:
    shared = {"type": "text", "text": "Shared."}
    prompt = Prompt(model="m", user=(shared, IMAGE, {"type": "text", "text": "End."}), cache="mark")
    [line] = lines("anthropic", prompt, pa.array(["img/a.png"]))
    assert isinstance(line, bytes)
    content = orjson.loads(line)["params"]["messages"][0]["content"]
    assert ["cache_control" in block for block in content] == [True, False, False]


@pytest.mark.parametrize(
    ("vendor", "endpoint", "model", "tokens"),
    [
        ("openai", CHAT, "gpt-4.1", 85 + 170),
        ("openai", RESPONSES, "gpt-4.1", 85 + 170),
        ("anthropic", CHAT, "claude-sonnet-4-5", 18 * 11),
        ("gemini", CHAT, "gemini-2.5-flash", 258 * 2 * 2),
    ],
)
def test_pictures_count_by_their_vendors_rule(vendor: str, endpoint: str, model: str, tokens: int) -> None:
    prompt = Prompt(endpoint=endpoint, model=model, user=({"type": "text", "text": "{{ t }}"}, IMAGE))
    [line] = lines(vendor, prompt, pa.array(["img/a.png"]))
    assert isinstance(line, bytes)
    content = dialect(settings(vendor).dialect).content_of(orjson.loads(line), model)
    assert (content.media, content.media_tokens, content.uncounted) == (1, tokens, [])
    assert content.texts == ["hi"]
