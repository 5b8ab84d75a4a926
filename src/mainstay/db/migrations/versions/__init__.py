"""One file for each schema change, named by its number."""
