"""The CRI's 41 calls: one file per call, each decodes, calls one function of a room below, and encodes.

Errors are not handled here: every room raises CrioError, whose code the RPC server sends. Called by daemon/ alone,
which hands `table.handlers(node)` to the server.
"""
