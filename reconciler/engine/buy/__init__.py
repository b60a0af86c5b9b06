"""Looking for a task, and creating it where it is unknown and wanted: `create` is the one module that can spend."""
