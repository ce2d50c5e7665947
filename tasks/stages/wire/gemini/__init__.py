"""Request and result lines of Gemini batches."""
