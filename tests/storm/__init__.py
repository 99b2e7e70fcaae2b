"""A storm of random operations against a daemon that is killed again and again, checked against a model.

`model` says what may be true of a pod or container, `client` does random things and compares, `leaks` looks for what is
left, `weather` runs clients and kills, `__main__` is `./dev storm`.
"""
