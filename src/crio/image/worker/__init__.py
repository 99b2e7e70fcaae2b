"""The image worker: a process of its own that pulls and loads images, so that the daemon stays small and answers fast.

`client.WorkerClient` is the daemon's side: it starts the program when there is work and lets it go when there is none.
`pool.WorkerPool` has several of them if images are pulled in other control groups than the daemon's.
`messages` is what they say to each other. `program` and `jobs` are the process itself (`python -m crio.image.worker`):
threads, blocking calls, and every heavy import. The worker dies with the daemon, because it sees its socket close; what
it was doing is undone by itself, or at the next start by the store.
"""
