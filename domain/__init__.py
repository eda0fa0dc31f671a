"""What may happen to an execution, decided without a clock, a driver or a random draw."""
