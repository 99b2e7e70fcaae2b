"""The sub-commands of `crio`, one file each, and the table of commands and flags that they are called by.

`table` says which commands and flags exist; parsing, help, completion and manuals all read it. A command's module is
imported only when that command runs, and has one function `run(call) -> exit code`. They talk to a running daemon over
its socket, and never import it, but for the daemon's own start.
"""
