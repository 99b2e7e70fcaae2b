"""From a CRI request to the OCI runtime specification of a container: one file per concern, joined in `build`.

`build_spec` decides and reads (mount sources, the image's passwd and group, devices), and changes nothing: what has to
be written or made is listed in the plan that it returns; `apply_effects` does it, always below the container's root.
Not here: storage, namespaces and cgroups themselves, and running the container. Called by container/'s create.
"""
