#!/bin/bash
# In the guest: the given tests with systemd as maker of control groups.
modprobe -aq overlay bridge veth nf_tables 2>/dev/null
export CRIO_TEST_CGROUP_MANAGER=systemd CRIO_TEST_GUEST=1
exec python -m pytest -p no:cacheprovider -q "$@"
