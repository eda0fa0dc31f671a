"""The ledger for programs on an event loop: the same calls, awaited, on threads."""
