"""`scripts/bench`: what the relay costs, next to a yardstick measured in the same run, round by round.

On a machine shared with other work absolute figures drift; the ratios of one run are what counts.

    backend.py    an OpenAI server that answers at once: what is measured is the relay, not a model
    stage.py      the network of scripts/up in a temporary directory, in front of that backend
    latency.py · throughput.py · direct.py    the three measurements
    affinity.py   conversations that go back to the node that has them in its prompt cache, and that go anywhere
    nodes.py      what heartbeats, tasks and sign-ins cost by the number of nodes; swarm.py: nodes that are simulated
    yardstick.py  Celery as it comes, with its result backend
"""
