"""How the domain meets databases, callers and the command line."""
