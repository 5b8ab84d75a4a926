"""Access logs of other programs: one reader for each format. What they say is made into events elsewhere."""
