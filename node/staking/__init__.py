"""A provider's way onto the chain: stakes for a node, adds to it, takes it back. The node's only room that knows web3.

    commands.py  what may be typed            account.py  the provider's cold key
    steps.py     what each command does       chain.py    the connection: tries, sends, waits
    place.py     which registry it is about   registry.py the NodeRegistry, typed; words.py  its refusals in words

Nothing here runs beside a node: `python -m node run` needs no chain.
"""
