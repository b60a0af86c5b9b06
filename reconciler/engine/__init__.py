"""The thin asynchronous shell around the core: it performs what the core decided and feeds back what happened.

`effects` is the one module that can spend money. `cycle` drives a selection of generations until they settle.
"""
