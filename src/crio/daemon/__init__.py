"""The daemon itself: builds every room, starts them in order, takes up what an earlier run left, and stops them.

`wiring` is the only file that names the concrete classes of all rooms; `recovery` reconciles what is recorded with what
exists; `inspect` is the HTTP side of the socket; `main` is the process with its signals. Called by cli/ alone.
"""
