"""Telling people who do not watch: gathered messages through Apprise, the only importer of `apprise`.

Knows no provider, no store and no folder. Nothing here may hold up or end the work that it tells of.
"""
