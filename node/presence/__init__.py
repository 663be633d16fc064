"""The node's side of the conversation with its coordinator: signing in, heartbeats, leaving. Outbound HTTP only."""
