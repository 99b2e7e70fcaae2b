"""Every published hole of this field, as an attack on a running daemon through its CRI socket.

`./dev cve SOCKET` points it at any CRI daemon on this machine; without a socket it starts one of its own. `registry`
serves images that no honest tool would build, `target` makes the calls and looks at the host, the tests are the lines
of docs/security.md.
"""
