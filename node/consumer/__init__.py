"""Takes Envelopes from the node's own queue with a Celery worker. The only room of the node that knows Celery.

Celery is transport: the lease of an attempt is the coordinator's, so nothing is acknowledged, nothing runs inside the
worker, and any trouble with the broker ends the worker for its supervisor to start another.
"""
