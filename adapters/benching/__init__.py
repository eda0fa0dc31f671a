"""Measuring a ledger on the disk of whoever asks, and wearing it out on purpose."""
