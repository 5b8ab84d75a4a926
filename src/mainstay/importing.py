"""`mainstay usage import`: events from other programs' logs, with their registries and consumers told apart."""
