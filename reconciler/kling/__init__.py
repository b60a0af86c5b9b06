"""The provider: its authentication, wire format, errors and client. Knows no store, no folder, no policy.

The only package that imports httpx and jwt. It answers what the provider said (`core.states.Task`) or raises
one class for each kind of reaction (`kling.errors`); what to do about it is decided in `core.transitions`.
"""
