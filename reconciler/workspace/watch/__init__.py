"""Noticing that files change, and when they are at rest. Says names, never what changed in them."""
