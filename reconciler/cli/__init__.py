"""The command line and the composition root: settings are read here and handed down as plain values."""
