"""The thin asynchronous shell around the core: it performs what the core decided and feeds back what happened.

`buy.create` is the one module that can spend money. `loop` drives generations until they settle.
"""
