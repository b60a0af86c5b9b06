"""A whole run: `apply` makes a plan true once, the daemon keeps a folder true. Puts the rest together."""
