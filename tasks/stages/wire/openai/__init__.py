"""Request and result lines of OpenAI's Batch API, at all of its endpoints."""
