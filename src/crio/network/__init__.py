"""Pod networks: CNI configuration, plug-ins, attachments and their clean-up, and host ports.

`manager.Network` attaches pods to the default network and detaches them; `hostport.HostPorts` maps host ports to pods.
Plug-ins are executables, or for the standard types built-in implementations in `builtin/` with the same results and
the same state on disk. What a pod is, and when it is attached, is decided in sandbox/, which calls this room.
"""
