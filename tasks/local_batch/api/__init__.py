"""The HTTP side of the service: routes, checks of what clients send, replies and errors in OpenAI's shapes."""
