"""Google's Gemini Batch API through the `google-genai` SDK."""
