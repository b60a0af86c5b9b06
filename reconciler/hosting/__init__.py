"""Media stores: they make a local file readable for the provider, by a URL.

Knows storage and nothing of specs, tasks or money. The only importer of obstore, and only when a file is to be hosted.
"""
