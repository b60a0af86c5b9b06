"""Bad input at scale: whatever comes in, a sentence comes out, in bounded time and memory, and nothing is bought.

It mirrors no package: each module is an area of input (specs, receipts, databases, settings, orders, answers of the
provider). CI runs a small, derandomised sample. `python -m tests.fuzz.campaign --minutes N` runs for as long as wanted.
"""
