"""Reading specs: documents, defaults, the media that they name, and the cache of all that."""
