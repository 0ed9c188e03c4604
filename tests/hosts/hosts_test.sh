#!/usr/bin/env bash
# A run across four hosts over TCP, under the supervisor: hosts_test.sh LOCKSTEP clean|back|cut|off|frozen
#
# clean   four ranks on four hosts end in the bits of one rank on one
# back    a host is switched off, the run goes on with three ranks; it is switched on again, and the run grows back
#         to four: the same bits
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
    # bash would name every host it sees killed.
    exec 2>/dev/null
    [ -z "$supervisor" ] || kill -KILL "$supervisor" 2>/dev/null || true
    cluster_down
    wait || true
    rm -rf "$work"
}
trap end_all EXIT
# Open MPI keeps its session folders here; a host that is switched off leaves its own.
export TMPDIR=$work/tmp
mkdir "$TMPDIR"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OPENBLAS_NUM_THREADS=1

fail() {
    echo "FAILED ($scenario): $*" >&2
    for log in "$work"/*.log; do echo "--- $log" && tail -n 40 "$log"; done >&2
    exit 1
}
now() { date +%s.%N; }
since() { awk "BEGIN { printf \"%.1f\", $(now) - $1 }"; }
field() { /usr/bin/python3 -c "import json, sys; print(eval(sys.argv[2], {'r': json.load(open(sys.argv[1]))}))" "$1" "$2"; }

prepare() {
    for k in $(seq 60); do
        printf 'The %s lamp of room %s was lit at %s o clock, and %s people saw it.\n%%\n' "$k" $((k * 7)) $((k % 12)) $((k * k))
    done >"$work/texts"
    "$lockstep" ingest -d "$work/texts" --document separator:% -t bytes -o "$work/corpus.h5" >"$work/prepare.log" 2>&1
    "$lockstep" batchplan build -l "$work/corpus.h5" -e 40 -b 256 --packs-per-step 4 -o "$work/plan" >>"$work/prepare.log" 2>&1
}
set_training() { # RUN: in `training`, the words of one
    training=("$lockstep" train -p "$work/plan" -d "$work/corpus.h5" -m tiny -o "$1" --steps "$steps"
        --checkpoint-every 5 --threads 1 --quiet)
}
digest_of() { "$lockstep" verify "$1" --json 2>>"$work/verify.log" >"$1.json" && field "$1.json" "r['state_digest']"; }

one_rank() {
    set_training "$work/one"
    "${training[@]}" >"$work/one.log" 2>&1 || fail "one rank alone"
}

supervise() { # RUN OPTION…
    set_training "$1"
    shift
    on_first "$lockstep" run --hang-timeout "$hang_timeout" --hosts h1:1,h2:1,h3:1,h4:1 --probe "$cluster/alive {}" "$@" \
        -- mpirun --bind-to none --mca btl self,vader,tcp --mca btl_tcp_if_include eth0 --mca oob_tcp_if_include eth0 \
        --mca btl_vader_single_copy_mechanism none --mca plm_rsh_no_tree_spawn 1 --mca plm_rsh_agent "$cluster/agent" \
        "${training[@]}" >"$work/run.log" 2>&1 &
    supervisor=$!
}

# RUN FIELD: of rank 0's heartbeat; -1 before the first step.
beat_of() { /usr/bin/python3 -c "
import json, sys
try:
    beat = json.load(open(sys.argv[1] + '/heartbeat.json'))
    print(beat[sys.argv[2]] if beat['training'] else -1)
except Exception:
    print(-1)" "$1" "$2"; }

await() { # WHAT COMMAND…: until it succeeds, while the run goes on
    local what=$1 until=$((SECONDS + 100))
    shift
    while [ "$SECONDS" -lt "$until" ]; do
        ! "$@" || return 0
        kill -0 "$supervisor" 2>/dev/null || fail "the run ended before $what"
        sleep 0.05
    done
    fail "not reached: $what"
}
at_step() { [ "$(beat_of "$1" step)" -ge "$2" ]; }               # RUN STEP
of_ranks() { [ "$(beat_of "$1" world_size)" = "$2" ]; }          # RUN RANKS
there_are() { [ "$(ranks_of "$work/four" | wc -w)" = "$1" ]; }   # RANKS

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

# COMMAND: what to do to the victim, while it trains; sets ranks, over.
disturb() {
    local at
    await "step 10" at_step "$work/four" 10
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
    awk "BEGIN { exit !($over <= $limit) }" || fail "the job was over after $over s, expected $limit s"
}

# Of the ranks it had: nothing any more.
nothing_left() {
    local left
    # shellcheck disable=SC2086
    left=$(alive_of $ranks)
    [ -z "$left" ] || fail "left after $SECONDS s: $(ps -o pid,stat,args -p "$(echo $left | tr ' ' ,)")"
}

await_end() { # RANKS: of its starts
    wait "$supervisor" || fail "the run did not end after its restart"
    supervisor=""
    local found
    found=$(field "$work/four/supervisor.json" "[a['ranks'] for a in r['attempts']]")
    [ "$found" = "$1" ] || fail "ranks $found, expected $1"
    [ "$(digest_of "$work/four")" = "$(digest_of "$work/one")" ] || fail "other bits than one rank's"
    echo "$scenario: over after $over s (limit $limit s), nothing left, the bits of one rank; ranks $found"
}

disturbed() { # COMMAND RANKS
    steps=150
    one_rank
    supervise "$work/four"
    disturb "$1"
    [ "$1" != freeze ] || thaw "$victim"
    sleep 10
    nothing_left
    await_end "$2"
}

back() {
    steps=100
    one_rank
    supervise "$work/four" --min-ranks 3 --host-check 1
    disturb power_off
    # It is back before they train: a fast machine would be done before anybody looks for it.
    await "three ranks" there_are 3
    power_on "$victim"
    await "training with four ranks" of_ranks "$work/four" 4
    nothing_left
    await_end "[4, 3, 4]"
    [ "$(field "$work/four/supervisor.json" "r['attempts'][1]['first_step'] is not None")" = True ] ||
        fail "three ranks did not train"
}

prepare
cluster_up "$work/cluster" 4
case $scenario in
    clean)
        one_rank
        clean
        ;;
    back) back ;;
    cut) disturbed cut_link "[4, 3]" ;;
    off) disturbed power_off "[4, 3]" ;;
    frozen) disturbed freeze "[4, 4]" ;;
    *) fail "no such scenario" ;;
esac
