"""Encrypted layers (ocicrypt): who has one of the private keys gets the layer's own key, and with that its bytes.

`keys` reads the node's private keys, `jwe` and `pkcs7` are the two ways in which a layer's key is wrapped, `layer` puts
them together. Called by image/ in the image worker alone: no private key is ever in the daemon's memory. This room
decrypts; it has nothing to do with whether an image is to be trusted.
"""
