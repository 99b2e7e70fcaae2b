"""The contestants. `cri` is what all daemons have in common; `project` and `containerd` are two of them. `bare` and
`conmon` are the parts that they are made of, used by hand."""
