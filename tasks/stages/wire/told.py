"""A request that is asked again with the model's answer and what is wrong with it, as further messages."""

from __future__ import annotations

from typing import Any

Request = dict[str, Any]


def openai(request: Request, answer: str, problem: str) -> Request:
    """In OpenAI's words, at chat completions and at responses, whose `input` may be a text alone."""
    body = request["body"]
    name = "messages" if "messages" in body else "input"
    before = body[name]
    messages = [{"role": "user", "content": before}] if isinstance(before, str) else before
    return {**request, "body": {**body, name: [*messages, *_messages(answer, problem)]}}


def anthropic(request: Request, answer: str, problem: str) -> Request:
    """In Anthropic's words."""
    params = request["params"]
    return {**request, "params": {**params, "messages": [*params["messages"], *_messages(answer, problem)]}}


def gemini(request: Request, answer: str, problem: str) -> Request:
    """In Gemini's words."""
    asked = request["request"]
    turns = [
        {"role": "model", "parts": [{"text": answer}]},
        {"role": "user", "parts": [{"text": _complaint(problem)}]},
    ]
    return {**request, "request": {**asked, "contents": [*asked["contents"], *turns]}}


def _messages(answer: str, problem: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": answer}, {"role": "user", "content": _complaint(problem)}]


def _complaint(problem: str) -> str:
    return f"This answer is not valid. {problem}\nAnswer again: only JSON that satisfies the schema."
