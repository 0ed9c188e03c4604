#!/usr/bin/env bash
# Effective training time of a supervised run of the tiny model whose ranks are killed one a minute.
# Usage: ettr.sh LOCKSTEP FOLDER [MINUTES] [RANKS]     (5, 2); FOLDER must not exist. Prints the supervisor's report.
set -euo pipefail
lockstep=$(realpath "$1") folder=$2 minutes=${3:-5} ranks=${4:-2}
documents=$(cd "$(dirname "$0")/../../docs" && pwd)
mkdir "$folder"
cd "$folder"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
"$lockstep" ingest -t bytes -d "$documents" -o corpus.h5 >/dev/null
"$lockstep" batchplan build -l corpus.h5 -b 1024 --packs-per-step 4 -e 1000 --jsonl never -o plan >/dev/null
"$lockstep" run --max-restarts 1000 -- mpirun -n "$ranks" --oversubscribe --bind-to none \
    "$lockstep" train -p plan -d corpus.h5 -m tiny -o run --checkpoint-every 1s --threads 1 >job.log 2>&1 &
supervisor=$!
trap 'kill -KILL $supervisor 2>/dev/null || true' EXIT
# Ranks are found by the run's own heartbeats.
victim() {
    python3 - "$1" <<'PYTHON'
import glob, json, random, sys
beats = [json.load(open(f)) for f in ["run/heartbeat.json", *sorted(glob.glob("run/heartbeat/*.json"))]]
print(random.Random(int(sys.argv[1])).choice(beats)["pid"])
PYTHON
}
for ((kill = 1; kill <= minutes; ++kill)); do
    sleep 60
    kill -KILL "$(victim "$kill")"
done
sleep 60
kill -TERM "$supervisor"
code=0
wait "$supervisor" || code=$?
trap - EXIT
echo "exit code $code"
cat run/supervisor.json
