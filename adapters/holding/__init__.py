"""Holding a lease: renewing it in time, and noticing in time that it is lost."""
