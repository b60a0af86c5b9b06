"""The revisions, numbered 0001, 0002, … in order; one that was published is never edited."""
