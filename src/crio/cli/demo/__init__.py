"""`./dev demo`: the life of one pod on real parts, told step by step, from an empty store to nothing left behind.

`story` is the sequence of steps, `display` how they look on a terminal or in a file, `daemon` runs the daemon on the
directories of `scratch`, `host` finds what the machine has, and `leftovers` compares the machine before and after; the
test suite's check for leaks uses it too. Nothing else imports this room.
"""
