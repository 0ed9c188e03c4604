#!/bin/sh
# Whether this machine lets us make what cluster.sh makes: namespaces, and in them a bridge, a wire and mounts. What
# is made here ends with it.
for tool in setpriv nsenter pgrep; do command -v "$tool" >/dev/null || exit 1; done
exec unshare --net --uts --mount --pid --fork --mount-proc sh -c '
    hostname probe && mount -t tmpfs none /dev/shm && ip link set lo up &&
        ip link add br0 type bridge && ip link add p1 type veth peer name eth0 netns $$' >/dev/null 2>&1
