"""What every room stands on: the error tree, ids, child processes, supervised tasks, atomic files, failpoints, log.

Imports the standard library and msgspec only, and does nothing at import time. Called by every other room.
"""
