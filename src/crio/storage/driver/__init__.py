"""How layers lie on disk and become one directory: one file per driver, all behind `base.Driver`.

Called by `storage/` only, always with the layers' lock held, except for reading content.
"""
