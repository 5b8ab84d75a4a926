"""Schema changes, in order. Each runs in one transaction: it happens whole or not at all."""
