"""Whether an image may be used: containers-policy.json(5), with the signatures that it asks for.

    policy, requirements, identity, scopes    what is asked of which image; pure but for reading the files
    signatures, payload                       signatures as values, blobs, and as the store keeps them; what they say
    lookaside, attached, registries_d         where signatures are found
    openpgp, sigstore, certificates, rekor    who made them
    verification                              whether they meet what is asked
    admission, stored                         the decision over an image that comes in, and over one that is there

The first line is all that the daemon loads; the rest is for the image worker, and its libraries are loaded when a
policy needs them. Called by image/. Whether a key opens a layer is no question of trust: that is in `decryption`.
"""
