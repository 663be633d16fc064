"""HTTP: the Relay API v2, which is OpenAI's where it can be. The only room that knows the web framework."""
