"""Logs, the access log and metrics. Knows nothing of requests: it is told."""
