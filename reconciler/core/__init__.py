"""The pure core: values and decisions. No I/O, no async, no clock, no environment, no logging.

Time comes in as `now`, integer milliseconds since the epoch, UTC (the API's own unit). Whatever here needs a
file, a socket or a setting gets a value instead; the import contract in `pyproject.toml` refuses the rest.
"""
