"""A small model of the ledger, written from the contract and from nothing else.

No events, no store, no code of the library. Every operation either changes the model
and returns what the ledger must answer, or raises `Refused` with the error code that
the ledger must give. `lease_rows` and `topics` of an execution are the rows of
`lease_event` and the topics of the log that the ledger must have written for it.
"""
