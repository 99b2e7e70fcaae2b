#!/bin/bash
# In the guest: the given tests with systemd as maker of control groups, and patience: programs start slowly here.
modprobe -aq overlay bridge veth nf_tables 2>/dev/null
export CRIO_TEST_CGROUP_MANAGER=systemd CRIO_TEST_GUEST=1
exec python -m pytest -p no:cacheprovider -q --timeout 1800 "$@"
