"""What the events mean for the tables that people query."""
