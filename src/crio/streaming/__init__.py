"""The streaming server: exec, attach and port-forward for kubectl, over SPDY and WebSocket.

The CRI calls Exec, Attach and PortForward hand out an address with a one-time token (`StreamingServer.exec_url` and its
sisters); whoever comes with the token gets its streams. What runs behind them is handed in (`backend.py`): nothing here
knows how a process is started or a network namespace entered. The protocols are in wire/; this room moves bytes between
their frames and descriptors, in bounded memory and without a copy more than needed.
"""
