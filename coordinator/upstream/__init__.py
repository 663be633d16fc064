"""Direct mode: OpenAI-compatible upstreams, with load balancing, and failover before the first byte of an answer."""
