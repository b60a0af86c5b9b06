"""Keeps a git-managed folder of specs true: videos from the Kling motion-control API, bought exactly once."""
