"""Mainstay looks after the open source that an organisation, or a registry, stands on."""

__version__ = "0.1.0"
