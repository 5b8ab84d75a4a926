"""`mainstay setup`: points clients at the gateway in their own configuration, and takes that out again."""
