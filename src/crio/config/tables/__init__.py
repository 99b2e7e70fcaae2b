"""The tables of crio.conf as frozen structs: each field is a key, with its type, default and meaning in one place.

Nothing here reads a file. `crio.config.catalog` walks the structs and is what everything else asks.
"""
