"""Whether an image may be used: containers-policy.json(5).

`policy` decides by the image's name. Requirements that need a signature are not verified in this release, and so refuse
the image: a node whose policy asks for signatures never runs what it could not check. Called by image/ at a pull and by
container/ at each use.
"""
