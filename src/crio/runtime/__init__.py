"""OCI runtimes by their command line (crun, runc, runsc, youki): start, kill, delete, update, exec, features.

A container's `create` is not here: it is run by the container's monitor (conmon/), which has to be its parent. Knows
nothing of pods or of the store. Called by container/.
"""
