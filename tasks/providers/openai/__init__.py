"""OpenAI's Batch API through the `openai` SDK, and the services that speak its protocol."""
