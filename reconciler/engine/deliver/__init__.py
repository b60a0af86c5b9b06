"""Saving what was paid for, publishing it beside its spec, writing its receipt. Nothing here asks for another one."""
