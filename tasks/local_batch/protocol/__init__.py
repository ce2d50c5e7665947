"""OpenAI's Files and Batches API as types: the file and batch objects, request and result lines, errors."""
