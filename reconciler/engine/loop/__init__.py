"""Whose turn it is, and what a turn does: carries out what `core.advance` decides. Nothing here decides or spends by itself."""
