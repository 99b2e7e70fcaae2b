"""Images: finding, pulling, loading, listing and removing them.

`service.ImageService` is what the daemon uses. It answers questions from the store's cached records and hands all real
work to the image worker (`worker/`), a process of its own that lives only while there is work: it talks to registries
(`registry/`), reads archives (`source/`), judges signatures (`trust/`), decrypts (`decryption/`), unpacks and verifies
layers, and writes into the store, or files into the layout of artifacts (`artifacts/`). HTTP, TLS, cryptography and
decompression are imported there and never in the daemon.

Not here: the store's format and drivers (`crio.storage`), the grammar of references (`crio.wire.reference`).
Called by cri/ and daemon/, and by container/ to find the image of a container.
"""
