"""What tests of orchestrators need: a clock moved by hand, lost leases, tenures."""
