"""The conformance kit: what a lease store must do, checked on any lease store."""
