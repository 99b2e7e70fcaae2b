"""The container monitor: a small program per container that holds what must outlive the daemon.

It owns the container's pipes or terminal, writes its log, serves attach, notices OOM kills and writes the exit record.

- Programs (standard library only, no asyncio, no threads, every module loaded before the fork):
  `zygote` forks a `monitor` per container and an `execmonitor` per streaming exec, on the daemon's request.
- Daemon side (asyncio): `client` starts the zygote and asks it for monitors, `watch` talks to a monitor, also to one
  that an earlier daemon had made.
- Between them: `packets` (their wire format, with a version), `spec` (what a monitor is told), `record` (how it ended).

Not here: what the OCI runtime is asked to do (runtime/), the state of containers (container/). This file stays empty of
code, because the zygote loads it.
"""
