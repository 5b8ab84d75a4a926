"""The one request path: route, identify, judge, fetch, render, record, reply."""
