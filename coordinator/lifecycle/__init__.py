"""What may happen to a task, its attempts and its record. No I/O: the store and the chain are behind ports."""
