"""The chain: the only room that knows web3. The API needs its `space` alone; the key is the writer's.

`writer` is the loop, `sender` and `confirmations` are its two halves, `evm` is how they see the network, `ports` what
they ask of the store, `start_check` what must hold before anything is signed.
"""
