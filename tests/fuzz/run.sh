#!/bin/sh
# Every libFuzzer target for a while, from the seeds and what earlier rounds found worth keeping.
#   tests/fuzz/run.sh SECONDS [JOBS] [TARGET…]     after: cmake --preset fuzz && cmake --build --preset fuzz
# Ends with 1 if any target found something; its input is below build/fuzz/findings.
set -eu
seconds=${1:?usage: tests/fuzz/run.sh SECONDS [JOBS] [TARGET…]}
jobs=${2:-1}
shift; [ $# -eq 0 ] || shift
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$root/build/fuzz
mkdir -p "$build/findings" "$build/fuzz-logs"
seeds=$build/fuzz-seeds
[ -d "$seeds" ] || "$build/bin/fuzz_seeds" "$seeds" "$root/tests/data"
[ $# -gt 0 ] || set -- $(cd "$build/bin" && ls | sed -n "s/^fuzz_//p" | grep -v "^seeds$")

one() {
    name=$1
    mkdir -p "$build/fuzz-corpus/$name"
    log=$build/fuzz-logs/$name
    if "$build/bin/fuzz_$name" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=4096 -close_fd_mask=1 \
        -print_final_stats=1 -artifact_prefix="$build/findings/$name-" \
        "$build/fuzz-corpus/$name" "$seeds/$name" >"$log" 2>&1; then
        echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions"
    else
        echo "$name: FAILED, see $log, which ends:"
        tail -n 30 "$log"
        return 1
    fi
}

failed=0
running=0
for name in "$@"; do
    rm -f "$build/findings/failed-$name" # of a round that was interrupted
    { one "$name" || touch "$build/findings/failed-$name"; } &
    running=$((running + 1))
    if [ "$running" -ge "$jobs" ]; then wait; running=0; fi
done
wait
for name in "$@"; do
    if [ -e "$build/findings/failed-$name" ]; then rm "$build/findings/failed-$name"; failed=1; fi
done
exit $failed
