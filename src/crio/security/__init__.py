"""Security of containers: from the CRI's request and crio.conf to values of the OCI runtime specification.

Capabilities, seccomp, AppArmor, SELinux, and what this daemon itself may do on this host (`host`). Decides and
compiles; only `apparmor.load_default` and `relabel` change anything. Called by container/, sandbox/ and the daemon's
wiring. Nothing is imported here: a node without SELinux or AppArmor does not pay for them.
"""
