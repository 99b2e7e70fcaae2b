"""Images, layers and containers' root file systems on disk, in the format of containers/storage.

podman, buildah, skopeo and other CRI-O nodes read and write the same directories at the same time. `Store` (store.py)
is the door: synchronous, thread-safe, called by the daemon in one executor and by the image worker. What is not here:
registries and manifests (image/), and what a container is beyond its files (container/).

store.py is the façade and knows the order of locks; table.py, locks.py, records.py are the index files; layers.py,
images.py, containers.py one kind of record each; driver/ the file systems; writer.py, unpack.py, tempdirs.py how a tar
becomes a layer; export.py the way back; gc.py, check.py, repair.py what happens after accidents.
"""
