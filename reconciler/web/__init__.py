"""The status page and the receiver of callbacks: HTTP on loopback by default. Shows, and takes hints; changes nothing.

Nothing here buys, decides or writes: a page in the user's browser can reach a port of this machine, and so can,
where callbacks are wanted, the world. What is shown comes from a `StatusSource`; a callback only says *look again*.
"""
