"""CRI-O in Python: a daemon that serves the Kubernetes Container Runtime Interface over OCI parts."""

__version__ = "1.36.0"
