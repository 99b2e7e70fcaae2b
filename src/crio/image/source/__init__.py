"""Where an image can come from: a registry, an OCI layout or archive, an archive of `docker save`, a `dir:` directory.

All look alike (`base.ImageSource`): top document, further documents, layers as byte streams. None is trusted: whoever
reads checks every digest. Blocking; for the image worker.
"""
