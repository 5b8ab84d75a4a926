"""`mainstay run`: answers for the registries at their own addresses while a command runs."""
