#!/usr/bin/env bash
# The script of `lockstep launch --print slurm` under a Slurm of our own, three nodes: slurm_test.sh LOCKSTEP lost|notice|killed|cancel
#
# lost    a node dies, then the one the script runs on: each time the job is queued again; it ends on the nodes
#         left and one that came back
# notice  before the time limit the ranks commit and stop, the job is queued again, and loses no step
# killed  a rank dies, and the run starts again within the job
# cancel  a job its user cancels or stops is not queued again
#
# Every run ends in the bits of one rank that was never disturbed, each planned token trained exactly once.
set -euo pipefail
lockstep=$(realpath "$1")
scenario=$2
here=$(dirname "$(realpath "$0")")
. "$here/cluster.sh"
. "$here/slurm_cluster.sh"
cluster_option=LOCKSTEP_TEST_SLURM
work=$(mktemp -d "${TMPDIR:-/tmp}/lockstep-slurm-XXXXXX")
cluster=$work/slurm/cluster
# munged wants others to reach its socket.
chmod 711 "$work"

end_all() {
    exec 2>/dev/null
    cluster_down
    wait || true
    rm -rf "$work"
}
trap end_all EXIT
# Open MPI keeps its session folders here, whoever starts it.
export TMPDIR=$work/tmp
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OPENBLAS_NUM_THREADS=1
mkdir "$TMPDIR"

fail() {
    echo "FAILED ($scenario): $*" >&2
    for log in "$work"/*.log "$work"/*.out "$work"/slurm/log/*.log; do
        [ ! -s "$log" ] || { echo "--- $log" && tail -n 40 "$log"; }
    done >&2
    exit 1
}
field() { /usr/bin/python3 -c "import json, sys; print(eval(sys.argv[2], {'r': json.load(open(sys.argv[1]))}))" "$1" "$2"; }

prepare() {
    {
        "$lockstep" ingest -d "$here"/../../docs/*.md --document blank -t bytes -o "$work/corpus.h5"
        "$lockstep" batchplan build -l "$work/corpus.h5" -e 4 -b 256 --packs-per-step 4 -o "$work/plan"
        "$lockstep" train -p "$work/plan" -d "$work/corpus.h5" -m nano -o "$work/undisturbed" --threads 1 --quiet
    } >"$work/prepare.log" 2>&1 || fail "one rank alone"
}

submit() { # OPTION… of launch
    # What the last job trained is not what this one does.
    rm -f "$work/run/heartbeat.json"
    "$lockstep" launch --print slurm --nodes 2 --interface eth0 --program "$lockstep" "$@" -- train -p "$work/plan" \
        -d "$work/corpus.h5" -m nano -o "$work/run" --checkpoint-every 10 >"$work/job.sh"
    job=$(on_control sbatch --parsable --chdir="$work" "$work/job.sh")
    out=$work/lockstep-$job.out
}

step_of_run() { /usr/bin/python3 -c "
import json, sys
try:
    beat = json.load(open(sys.argv[1] + '/heartbeat.json'))
    print(beat['step'] if beat['training'] else -1)
except Exception:
    print(-1)" "$work/run"; }

# SECONDS WHAT COMMAND…: until it succeeds.
await() {
    local until=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        if [ "$SECONDS" -ge "$until" ] || is_in JobState "FAILED NODE_FAIL TIMEOUT"; then
            fail "waited for $what: $(job_field "$job" JobState), queued again $(job_field "$job" Restarts) times"
        fi
        sleep 0.2
    done
}
is_in() { case " $2 " in *" $(job_field "$job" "$1") "*) ;; *) return 1 ;; esac; }
trained() { [ "$(step_of_run)" -ge "$1" ]; }
not_queued() { [ -z "$(on_control squeue -h -j "$job" 2>/dev/null)" ]; }
started() { pgrep -f "^mpirun .* -o $work/run " >/dev/null; }
stops() { sed -n 's/^stopped on request at step \([0-9]*\) .*/\1/p' "$out"; }
said() { grep -q "$1" "$out"; }
restarted() { [ "$(job_field "$job" Restarts)" -ge "$1" ]; }
supervised() { field "$work/run/supervisor.json" "r['$1']"; }
ranks() { pgrep -f "^$lockstep train .* -o $work/run " || true; }
nodes_of_job() { on_control scontrol show hostnames "$(job_field "$job" NodeList)"; }

await_end() {
    await 180 "its end" is_in JobState COMPLETED
    prove
}

prove() {
    "$lockstep" verify "$work/run" --against "$work/undisturbed" --json >"$work/proof.json" 2>"$work/proof.log" ||
        fail "not proven equal to the undisturbed run"
    "$lockstep" verify "$work/undisturbed" --json >"$work/undisturbed.json" 2>>"$work/proof.log"
    [ "$(field "$work/proof.json" "r['proven'] and r['steps'] == r['steps_planned']")" = True ] || fail "not all was trained"
    [ "$(field "$work/proof.json" "r['state_digest']")" = "$(field "$work/undisturbed.json" "r['state_digest']")" ] ||
        fail "other bits than the undisturbed run's"
    echo "$scenario: queued again $(job_field "$job" Restarts) times; $(head -n 1 "$work/proof.log")"
}

lost() {
    local first second
    submit --ranks-per-node 2
    await 60 "step 20" trained 20
    second=$(nodes_of_job | tail -n 1)
    power_off "$second"
    await 120 "being queued again" restarted 1
    await 120 "step 40 on other nodes" trained 40
    ! nodes_of_job | grep -qx "$second" || fail "it runs on the lost node"
    [ "$(node_state "$second")" = 'down*' ] || fail "Slurm takes $second for $(node_state "$second")"

    first=$(nodes_of_job | head -n 1)
    power_off "$first"
    await 120 "being queued again" restarted 2
    await 60 "nodes to be missing" is_in JobState PENDING
    power_on "$second"
    start_node "$second"
    await_end
}

# Held still until then, so that no machine is done before the notice.
notice() {
    local step
    submit --time 00:01:00 --notice 20
    await 60 "step 20" trained 20
    ranks | xargs -r kill -STOP
    await 60 "the notice" said "asked to stop; the ranks agree"
    ranks | xargs -r kill -CONT
    await 60 "being queued again" restarted 1
    await_end
    [ "$(supervised restarts)" = 0 ] || fail "it was not stopped in order"
    for step in $(stops); do
        said "steps $step to " || fail "it did not go on at step $step, where it stopped"
    done
}

killed() {
    submit --ranks-per-node 2
    await 60 "step 20" trained 20
    kill -KILL "$(ranks | tail -n 1)"
    await_end
    [ "$(job_field "$job" Restarts)" = 0 ] || fail "the job was queued again"
    [ "$(supervised restarts)" = 1 ] || fail "$(supervised restarts) restarts, expected 1"
}

cancel_it() {
    on_control scancel "$job"
    await 60 "the end of its processes" not_queued
    is_in JobState CANCELLED || fail "cancelled, but now $(job_field "$job" JobState)"
}

# Before its first step, when a stop is an end at once, and while it trains; then stopped in order, by its script.
cancel() {
    submit --ranks-per-node 2
    await 60 "mpirun" started
    cancel_it
    submit --ranks-per-node 2
    await 60 "step 20" trained 20
    cancel_it
    submit --ranks-per-node 2
    await 60 "step 60" trained 60
    on_control scancel --batch --signal=TERM "$job"
    await 60 "the end of its processes" not_queued
    is_in ExitCode 75:0 || fail "asked to stop, it ended with $(job_field "$job" ExitCode)"
    [ -n "$(stops)" ] || fail "it did not commit before it ended"
    "$lockstep" resume "$work/run" --quiet >"$work/resume.log" 2>&1 || fail "it cannot be resumed"
    prove
}

slurm_needs
cluster_needs
prepare
slurm_up "$work/slurm" 3
case $scenario in
    lost | notice | killed | cancel) "$scenario" ;;
    *) fail "no such scenario" ;;
esac
