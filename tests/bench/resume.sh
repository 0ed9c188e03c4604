#!/usr/bin/env bash
# How much longer a long plan makes `resume` take to its next step: beside a plan of 1,000 steps of the same corpus.
# Usage: resume.sh LOCKSTEP FOLDER [STEPS] [TIMES]     (10,000,000, 5); FOLDER must not exist. Takes 40 B of disk and, when
# the run first starts, 50 B of memory a step. Prints medians of resumes from a cold plan, by the clock and by the
# processor, which counts on a busy machine; the limit is 1 s more, beyond reading what is read.
set -euo pipefail
lockstep=$(realpath "$1") folder=$2 steps=${3:-10000000} times=${4:-5}
samples=1000
mkdir "$folder"
cd "$folder"
# One sample a pack, one pack a step: an epoch is as many steps as there are samples.
for ((i = 0; i < samples; ++i)); do printf '%06d\n%%\n' "$i"; done >texts
"$lockstep" ingest -t bytes -d texts --document separator:% -o corpus.h5 >/dev/null

TIMEFORMAT='%R %U %S'
timed() { # COMMAND…: seconds by the clock and of the processor
    local spent
    spent=$({ time "$@" >>job.log 2>&1; } 2>&1) || { tail -n 5 job.log >&2 && return 1; }
    awk '{ print $1, $2 + $3 }' <<<"$spent"
}

start() { # NAME EPOCHS
    local built began
    built=$(timed "$lockstep" batchplan build -l corpus.h5 -e "$2" -b 16 --segments-per-pack 1 --packs-per-step 1 \
        --jsonl never -o "$1-plan")
    began=$(timed "$lockstep" train -p "$1-plan" -d corpus.h5 -m nano -o "$1-run" --steps 1 --threads 1 --quiet)
    echo "$1 plan, $(du -bs "$1-plan" | cut -f 1) bytes: built in ${built% *} s, first start and one step ${began% *} s"
}

# NAME FILE COMMAND…: with the plan on the disk, not in memory.
timed_cold() {
    local name=$1 times=$2
    shift 2
    find "$name-plan" -type f -exec dd if={} iflag=nocache count=0 status=none \;
    timed "$@" >>"$times"
}
median() { cut -d ' ' -f "$2" "$1" | sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }

start short 1
start long $((steps / samples))
for ((i = 1; i <= times; ++i)); do
    for plan in short long; do
        timed_cold $plan $plan-times "$lockstep" resume $plan-run --steps $((i + 1)) --threads 1 --quiet
    done
    # All that is read of a plan and grows with it.
    timed_cold long read-times cp long-plan/fingerprints.json copy
done
for field in 1 2; do
    short=$(median short-times $field) long=$(median long-times $field) read=$(median read-times $field)
    echo "resume and one step: $short s with $samples steps, $long s with $steps," \
        "$(awk "BEGIN { printf \"%.3f\", $long - $short }") s more; to read fingerprints.json alone: $read s" \
        "$([ $field = 1 ] && echo "(clock)" || echo "(processor)")"
done
