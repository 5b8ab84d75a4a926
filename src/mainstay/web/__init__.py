"""The pages at `/` and the JSON API."""
