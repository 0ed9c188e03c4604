# Hosts on one machine, to be sourced: each is a network, host name, mount and process namespace, on one bridge in
# a namespace of its own. Nothing is added to the machine's network; all ends with the holders, on exit.
#
#   cluster_up FOLDER N          hosts h1…hN at 10.78.0.1…N
#   on_first COMMAND…            in h1's network, seeing the machine's processes: where mpirun and lockstep run
#   $cluster/agent H COMMAND…    on a host, as ssh would
#   cut_link H | power_off H | power_on H | freeze H | thaw H

net=10.78.0
# The option that asks for the tests that source this.
cluster_option=LOCKSTEP_TEST_HOSTS

cluster_fail() {
    echo "hosts: $*" >&2
    exit 1
}

cluster_needs() {
    local tool
    for tool in unshare setpriv nsenter ip pgrep mpirun; do
        command -v "$tool" >/dev/null || cluster_fail "no $tool; install util-linux, iproute2, procps and openmpi-bin"
    done
    "$here/can_make_hosts.sh" ||
        cluster_fail "this machine allows no namespaces (they need root); configure with -D$cluster_option=OFF"
}

holder() { cat "$cluster/$1.pid"; }

# NAME SCRIPT: a process that holds the namespaces; its pid 1 waits for ever and reaps what is left to it.
hold() {
    local name=$1 unshare_pid child=""
    rm -f "$cluster/$name.ready"
    # Killed test or not, the hosts end with it.
    setsid setpriv --pdeathsig KILL unshare --net --uts --mount --pid --fork --mount-proc --kill-child=KILL bash -c "
        hostname '$name'
        ip link set lo up
        mount --bind '$cluster/hosts' /etc/hosts
        mount -t tmpfs -o mode=1777 none /dev/shm
        : >'$cluster/$name.ready'
        while :; do sleep 3600 & wait \$!; done" </dev/null >"$cluster/$name.log" 2>&1 &
    unshare_pid=$!
    echo "$unshare_pid" >"$cluster/$name.holder"
    for _ in $(seq 200); do
        if [ -e "$cluster/$name.ready" ]; then
            child=$(tr -d ' \n' <"/proc/$unshare_pid/task/$unshare_pid/children")
            break
        fi
        sleep 0.05
    done
    [ -n "$child" ] || cluster_fail "host $name did not start: $(cat "$cluster/$name.log")"
    echo "$child" >"$cluster/$name.pid"
}

# A host, held and plugged in.
add_host() { # H
    local k=${1#h} switch
    switch=$(holder switch)
    hold "$1"
    # The same hardware address each time, as a real host has: the others remember it for many seconds.
    nsenter -t "$switch" -n ip link add "p$k" type veth \
        peer name eth0 address "02:00:00:00:00:$(printf %02x "$k")" netns "$(holder "$1")"
    nsenter -t "$switch" -n ip link set "p$k" master br0 up
    nsenter -t "$(holder "$1")" -n ip addr add "$net.$k/24" dev eth0
    nsenter -t "$(holder "$1")" -n ip link set eth0 up
}

cluster_up() {
    cluster=$1
    local count=$2 k
    cluster_needs
    mkdir -p "$cluster"
    {
        echo "127.0.0.1 localhost"
        for k in $(seq "$count"); do echo "$net.$k h$k"; done
    } >"$cluster/hosts"
    hold switch
    nsenter -t "$(holder switch)" -n ip link add br0 type bridge
    nsenter -t "$(holder switch)" -n ip link set br0 up
    for k in $(seq "$count"); do add_host "h$k"; done
    # How mpirun reaches a host: AGENT HOST COMMAND…, as ssh is called.
    cat >"$cluster/agent" <<AGENT
#!/bin/bash
host=\$1
shift
exec nsenter -t "\$(cat '$cluster'/"\$host".pid)" --net --uts --mount --pid -- bash -c "\$*"
AGENT
    # Whether a host can be reached from h1: its kernel refuses a connection.
    cat >"$cluster/alive" <<ALIVE
#!/bin/bash
timeout 2 nsenter -t '$(holder h1)' --net -- bash -c "exec 3<>/dev/tcp/$net.\${1#h}/9" 2>&1 | grep -q refused
ALIVE
    chmod +x "$cluster/agent" "$cluster/alive"
}

on_first() {
    nsenter -t "$(holder h1)" --net --uts -- unshare --mount bash -c '
        mount --bind "$1/hosts" /etc/hosts
        shift
        exec "$@"' - "$cluster" "$@"
}

cut_link() { nsenter -t "$(holder "$1")" -n ip link set eth0 down; }

# Every process of a host but its first.
processes_of() {
    local space process
    space=$(readlink "/proc/$(holder "$1")/ns/pid")
    for process in /proc/[0-9]*; do
        [ "$(readlink "$process/ns/pid" 2>/dev/null)" = "$space" ] || continue
        [ "${process#/proc/}" = "$(holder "$1")" ] || echo "${process#/proc/}"
    done
}

power_off() {
    cut_link "$1"
    # With its first process all others are killed at once.
    kill -KILL "$(holder "$1")"
    rm "$cluster/$1.holder"
}

# Again after power_off, with nothing running on it.
power_on() {
    local k=${1#h}
    # The kernel takes the old link away in its own time.
    nsenter -t "$(holder switch)" -n ip link del "p$k" 2>/dev/null || true
    add_host "$1"
}

freeze() { processes_of "$1" | xargs -r kill -STOP; }
thaw() { processes_of "$1" | xargs -r kill -CONT; }

cluster_down() {
    local file
    for file in "$cluster"/*.holder; do
        [ ! -e "$file" ] || kill -KILL "$(cat "$file")" 2>/dev/null || true
    done
}
