"""The kernel, one subject per file: synchronous wrappers of 3 to 10 lines that raise OSError with the path.

Nothing here knows of pods or containers. Imports the standard library and `base.errors` only.
"""
