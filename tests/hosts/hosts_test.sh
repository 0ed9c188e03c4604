#!/usr/bin/env bash
# A run across four hosts over TCP, under the supervisor: hosts_test.sh LOCKSTEP clean|cut|off|frozen
#
# clean   four ranks on four hosts end in the bits of one rank on one
# others  a host is cut off, switched off or frozen while it trains: the job is over within the hang timeout and
#         15 s, nothing of it is left 10 s later, and the run ends on the other hosts in the same bits
set -euo pipefail
lockstep=$(realpath "$1")
scenario=$2
here=$(dirname "$(realpath "$0")")
. "$here/cluster.sh"

hang_timeout=5
limit=$((hang_timeout + 15))
victim=h3
steps=30
work=$(mktemp -d "${TMPDIR:-/tmp}/lockstep-hosts-XXXXXX")
supervisor=""

end_all() {
    [ -z "$supervisor" ] || kill -KILL "$supervisor" 2>/dev/null || true
    cluster_down
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap end_all EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OPENBLAS_NUM_THREADS=1

fail() {
    echo "FAILED ($scenario): $*" >&2
    for log in "$work"/*.log; do echo "--- $log" && tail -n 40 "$log"; done >&2
    exit 1
}
now() { date +%s.%N; }
since() { echo "$(now) - $1" | bc; }
field() { /usr/bin/python3 -c "import json, sys; print(eval(sys.argv[2], {'r': json.load(open(sys.argv[1]))}))" "$1" "$2"; }

prepare() {
    for k in $(seq 60); do
        printf 'The %s lamp of room %s was lit at %s o clock, and %s people saw it.\n%%\n' "$k" $((k * 7)) $((k % 12)) $((k * k))
    done >"$work/texts"
    "$lockstep" ingest -d "$work/texts" --document separator:% -t bytes -o "$work/corpus.h5" >"$work/prepare.log" 2>&1
    "$lockstep" batchplan build -l "$work/corpus.h5" -e 40 -b 256 --packs-per-step 4 -o "$work/plan" >>"$work/prepare.log" 2>&1
}
training() { # RUN
    echo "$lockstep" train -p "$work/plan" -d "$work/corpus.h5" -m tiny -o "$1" --steps "$steps" \
        --checkpoint-every 5 --threads 1 --quiet
}
launcher() {
    echo mpirun --bind-to none --mca btl self,vader,tcp --mca btl_tcp_if_include eth0 --mca oob_tcp_if_include eth0 \
        --mca btl_vader_single_copy_mechanism none --mca plm_rsh_no_tree_spawn 1 --mca plm_rsh_agent "$cluster/agent"
}
digest_of() { "$lockstep" verify "$1" --json 2>>"$work/verify.log" >"$1.json" && field "$1.json" "r['state_digest']"; }

one_rank() {
    # shellcheck disable=SC2046
    "$lockstep" $(training "$work/one" | cut -d' ' -f2-) >"$work/one.log" 2>&1 || fail "one rank alone"
}

supervise() { # RUN
    # shellcheck disable=SC2046
    on_first "$lockstep" run --hang-timeout "$hang_timeout" --hosts h1:1,h2:1,h3:1,h4:1 --probe "$cluster/alive {}" \
        -- $(launcher) $(training "$1") >"$work/run.log" 2>&1 &
    supervisor=$!
}

step_of() { /usr/bin/python3 -c "
import json, sys
try:
    beat = json.load(open(sys.argv[1] + '/heartbeat.json'))
    print(beat['step'] if beat['training'] else -1)
except Exception:
    print(-1)" "$1"; }

await_step() { # RUN STEP
    for _ in $(seq 600); do
        [ "$(step_of "$1")" -lt "$2" ] || return 0
        kill -0 "$supervisor" 2>/dev/null || fail "the run ended before step $2"
        sleep 0.05
    done
    fail "step $2 was not reached"
}

ranks_of() { # RUN: processes of its ranks, on all hosts
    pgrep -f "^$lockstep train .* -o $1 " || true
}

alive_of() { # PIDS: those not gone nor waiting to be reaped
    local pid
    for pid in "$@"; do
        case $(awk '/^State:/ { print $2 }' "/proc/$pid/status" 2>/dev/null) in "" | Z | X) ;; *) echo "$pid" ;; esac
    done
}

clean() {
    supervise "$work/four"
    wait "$supervisor" || fail "the run across hosts"
    supervisor=""
    [ "$(field "$work/four/supervisor.json" "r['attempts'][0]['ranks']")" = 4 ] || fail "not four ranks"
    [ "$(field "$work/four/supervisor.json" "r['restarts']")" = 0 ] || fail "it was restarted"
    [ "$(digest_of "$work/four")" = "$(digest_of "$work/one")" ] || fail "other bits than one rank's"
    echo "clean: four hosts, the bits of one rank"
}

disturbed() { # what to do to the victim
    steps=150
    one_rank
    supervise "$work/four"
    await_step "$work/four" 10
    local ranks at over
    ranks=$(ranks_of "$work/four")
    [ "$(echo "$ranks" | wc -w)" -ge 4 ] || fail "four ranks expected: $ranks"
    at=$(now)
    SECONDS=0
    "$1" "$victim"
    # Written after every start of the job.
    until [ -e "$work/four/supervisor.json" ]; do
        [ "$SECONDS" -le $((limit + 10)) ] || fail "the job is not over after $SECONDS s"
        sleep 0.1
    done
    over=$(since "$at")
    echo "$over <= $limit" | bc | grep -q 1 || fail "the job was over after $over s, expected $limit s"
    [ "$1" != freeze ] || thaw "$victim"
    sleep 10
    # shellcheck disable=SC2086
    local left
    left=$(alive_of $ranks)
    [ -z "$left" ] || fail "left after 10 s: $(ps -o pid,stat,args -p "$(echo $left | tr ' ' ,)")"
    wait "$supervisor" || fail "the run did not end after its restart"
    supervisor=""
    [ "$(digest_of "$work/four")" = "$(digest_of "$work/one")" ] || fail "other bits than one rank's"
    echo "$scenario: over after $over s (limit $limit s), nothing left, the bits of one rank;" \
        "ranks $(field "$work/four/supervisor.json" "[a['ranks'] for a in r['attempts']]")"
}

prepare
cluster_up "$work/cluster" 4
case $scenario in
    clean)
        one_rank
        clean
        ;;
    cut) disturbed cut_link ;;
    off) disturbed power_off ;;
    frozen) disturbed freeze ;;
    *) fail "no such scenario" ;;
esac
