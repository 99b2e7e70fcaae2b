"""The programs: `crio` (the daemon and its sub-commands), `crioctl`, the demo, and the installer.

A file for each command. They talk to a daemon over its socket, or read its files; nothing below imports them.
"""
