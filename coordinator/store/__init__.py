"""The store: Redis, and the only room that knows it. The truth about tasks, attempts, nodes, keys and the chain outbox.

State changes only by the Lua scripts in `lua/`, each one atomic; `lua/prelude.lua` documents the keys.
"""
