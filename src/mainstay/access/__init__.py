"""Who is calling, and what they may use. Knows nothing of HTTP servers, ecosystems or upstreams: it is told."""
