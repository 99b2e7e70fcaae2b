"""Values of the specifications that others read or write: OCI runtime and image, Docker images, CNI, CDI.

Structs that mirror the specifications' fields, with decoding and its limits, and the names of annotations. Nothing here
decides anything or touches a file. Used by every room above.
"""
