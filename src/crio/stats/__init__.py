"""What containers and pods use: CPU, memory, swap, writable layer, processes and network, as the CRI's messages.

Reads control groups and files; changes nothing. Called by cri/ and by the metrics.
"""
