"""Pod sandboxes: the network, namespaces, control group and files that the containers of a pod share.

A pod needs no process: its namespaces are pinned as files. The one exception is a pod that shares a PID namespace,
which lasts only as long as its first process. Knows nothing of containers; stopping a pod calls them through a door
that the wiring sets. Called by cri/ and container/.
"""
