"""The client's end of exec, attach and port-forward, over the URLs that a runtime gives out.

`pipe` is a connection that was upgraded from HTTP, `websocket` and `spdy` carry channels on it, `remote` joins a
command's channels with this terminal (`terminal`), `forward` joins local ports with those of a pod. The protocols
themselves are in wire/. Called by the commands exec, attach and port-forward.
"""
