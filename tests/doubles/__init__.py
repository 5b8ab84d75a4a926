"""Real HTTP servers and clients on loopback, which the black-box suites put on both sides of a gateway."""
