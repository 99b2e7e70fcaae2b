"""Talking to registries by the OCI distribution protocol.

`client.RegistryClient` fetches manifests and blobs of one repository from one place. Below it: `http` (connections,
time limits, proxies), `tls` (certificates), `authorization` (challenges and tokens). All of it blocks: it is for the
threads of the image worker, and never imported in the daemon.

Not here: which place to ask (`crio.image.registries`), whose credentials to use (`crio.image.credentials`), what to
make of the content.
"""
