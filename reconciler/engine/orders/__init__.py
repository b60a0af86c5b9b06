"""What the user asks for by a command that names it. Nothing here creates a task."""
