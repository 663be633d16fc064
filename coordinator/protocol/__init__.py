"""Wire messages between coordinator and node, and the hashes and signatures that bind them.

The one room a node may import. It needs pydantic and Ethereum types only: no network, no store.
"""
