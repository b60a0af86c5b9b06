"""What every spec says and depends on, kept up while the folder changes."""
