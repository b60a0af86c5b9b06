"""Plain files and the project's root: opening, looking, landing. Nothing here knows what a file means."""
