"""Images, layers and containers' root file systems on disk, in the format of containers/storage.

podman, buildah, skopeo and other CRI-O nodes read and write the same directories at the same time. `Store` (store.py)
is the door: synchronous, thread-safe, called by the daemon in one executor and by the image worker. What is not here:
registries and manifests (image/), and what a container is beyond its files (container/).

store.py is the façade and knows the order of locks; options.py and storageconf.py say where a store is and how it
behaves; table.py, indexfile.py, locks.py, records.py are the index files; layers.py, images.py, containers.py one kind
of record each, others.py the read-only stores behind them; driver/ the file systems; idmaps.py owners for user
namespaces; writer.py, unpack.py, tempdirs.py how a tar becomes a layer; export.py the way back; accounting.py and
usage.py sizes; gc.py, check.py, verify.py and clearing.py what happens after accidents.
"""
