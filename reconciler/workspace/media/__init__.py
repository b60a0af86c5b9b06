"""Pictures and films: judging, preparing and previewing them, in bounded processes."""
