"""One file for each verb of crioctl: `configure(parser)` adds its options, `run(settings, args)` does it.

Called by `program`, which imports only the verb that is wanted. Files here import each other never.
"""
