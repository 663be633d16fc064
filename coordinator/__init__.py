"""The coordinator: the Relay API, the store, dispatch over Celery and the chain writer."""
