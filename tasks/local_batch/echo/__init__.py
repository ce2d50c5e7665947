"""Answers without a model: replies shaped like OpenAI's, made from the request alone, the same ones every time."""
