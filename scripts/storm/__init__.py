"""Faults injected into a whole network on a seeded schedule, and what became of every request: `scripts/chaos`.

options.py cli.py     what the user typed, what he reads
faults.py             the faults by name
schedule.py           what strikes when and whom: a pure function of the seed
ground.py backend.py  the network, and a model server for each node that fails as it is told to
balancer.py           between the nodes and the API's processes
rogue.py hostile.py   nodes of our own making that break the rules
load.py ledger.py     the clients, and what each of them saw
injector.py watch.py  the strikes, and how long attempts take to run elsewhere
audit.py leftovers.py every task as clients, store and chain show it; what stayed behind in the store
verdict.py            what of it is wrong
measures.py report.py  the numbers, the report
storm.py ending.py    the whole of it
"""
