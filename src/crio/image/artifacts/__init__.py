"""OCI artifacts: what a registry has under a name and is no image, kept as files that containers can mount.

They lie in an OCI layout beside the images, `artifacts` below the store's root, as CRI-O and podman keep them. `layout`
reads it and removes from it, in the daemon; `receive` puts into it, in the image worker. Called by image/ alone.
"""
