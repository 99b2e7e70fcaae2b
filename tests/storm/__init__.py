"""A storm of random operations against a daemon that is killed again and again, checked against a model.

`model` says what may be true of a pod or container, `client` does random things and compares, `streams` the same with
commands, attachments and ports, `images` has images that come and go, `events` listens to what is told, `faults` makes
plug-ins fail and disks full, `leaks` looks for what is left, `weather` runs clients and kills, `__main__` is
`./dev storm`.
"""
