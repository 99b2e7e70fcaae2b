"""Containers: from the CRI's request to a running process, and back to nothing.

`manager.ContainerManager` finds, starts, stops and removes them, `create.ContainerMaker` makes and unmakes one, and
`exec.Execs` runs commands in them. `specgen/` makes the OCI specification; `record.py` is what a crash leaves to know
them by, and `container.Container` derives the state from it. Pods are in sandbox/, processes and logs in conmon/, root
file systems in storage/. Called by cri/, stats/ and daemon/.
"""
