"""What others add to a finished specification: vendors' devices (CDI) and OCI hooks from directories.

Edits `spec.oci_runtime.Spec` values in place. Knows nothing of the CRI. Called by container/specgen at its end.
"""
