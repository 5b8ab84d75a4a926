"""The one fetch path: single-flight, freshness, politeness, retry, verification."""
