"""The checks of `crioctl doctor`: whether this machine can be a node, and whether the daemon on it is well.

Each module looks at one subject and yields findings: plain words about what is wrong, and how to mend it. A check reads
the machine and changes nothing (what it has to try out, it takes away again). `diagnose` runs them all; it is called by
the command, and by nobody else.
"""
