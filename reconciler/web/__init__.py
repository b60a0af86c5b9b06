"""The status page and the receiver of callbacks: HTTP on loopback by default.

Nothing here buys, decides or writes: a page in the user's browser can reach this port and, for callbacks, so can the
internet. A callback only says *look again*.
"""
