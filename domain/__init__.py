"""What may happen to an execution, decided without clock, driver or random draw."""
