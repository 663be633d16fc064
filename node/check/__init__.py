"""`python -m node check`: everything that a node needs, tried before its start; each failure says how to be rid of it.

    key, settings, disk, files, memory, GPUs      machine.py
    network, clock, standing, chain, broker       coordinator.py
    backend, each model, slots                    backend.py

It signs in nowhere, so it never disturbs a node that runs with the same key.
"""
