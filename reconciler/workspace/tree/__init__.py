"""Listing the folder, and what its ignore file leaves out. No file's content is read, but that one's."""
