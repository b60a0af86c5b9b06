"""Asking the provider about tasks: by id, and by its lists. Nothing here creates, fetches or fails one."""
