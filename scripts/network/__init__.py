"""The whole relay on one machine, of real parts: what `scripts/up` runs, and what the end-to-end tests start.

cli.py       what the user typed
home.py      the state directory: layout, lock, free ports, up.json
keys.py      the secrets in it
children.py  child processes: started, watched, healed, stopped
redis.py · chain.py · relay.py    one module a kind of child: its configuration, command and readiness
network.py   all of them, in order
sample.py    one task in front of the user
announce.py  what listens where
"""
