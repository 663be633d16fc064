"""Who may work, and what time brings about. Nodes are chosen and Envelopes written inside the store's scripts."""
