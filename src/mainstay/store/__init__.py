"""Content-addressed blobs on local disk, their eviction, and what workers share through memory."""
