#!/usr/bin/env bash
# The whole promise on real text: ingest, plan, train under mpirun, kill a rank, resume with another number of
# ranks, and prove that data and bits are those of a run that never failed.
# Usage: launch/quickstart.sh [output folder]   (out/quickstart)
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-"$here/out/quickstart"}
steps=120
cores=$(nproc)

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' plain=$'\e[0m'; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

say "1/8  Packages and build"
"$here/launch/install.sh"
cd "$here"
cmake --preset release >/dev/null
cmake --build --preset release --target lockstep
lockstep=$here/build/release/bin/lockstep
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
ranks() { mpirun --oversubscribe --bind-to none -n "$1" "${@:2}"; }

# A folder that holds something else is not ours to empty.
if [ -e "$out" ] && [ ! -e "$out/.lockstep-quickstart" ]; then
    echo "'$out' exists and is not a quick start's folder; give another one" >&2
    exit 73
fi
rm -rf "$out"
mkdir -p "$out"
touch "$out/.lockstep-quickstart"
cd "$out"
out=$(pwd)

say "2/8  Ingest: Debian's fortunes teach a vocabulary of 4,096 tokens, and become such tokens"
"$lockstep" tokenizer train --vocab-size 4096 -d /usr/share/games/fortunes --document separator:% -o tokenizer.json \
    --json >vocabulary.json
"$lockstep" ingest -d /usr/share/games/fortunes --document separator:% -t tokenizer.json -o corpus.h5 --json >ingest.json
"$lockstep" lengths stats -l corpus.h5 --json >lengths.json

say "3/8  Plan: which tokens are trained in which step, decided now and for ever"
"$lockstep" batchplan build -l corpus.h5 -e 1 -b 1024 --packs-per-step 4 -o plan --json >plan.json
"$lockstep" batchplan validate -p plan --strict -l corpus.h5

say "4/8  Train without interruption: $cores rank(s), $steps steps"
ranks "$cores" "$lockstep" train -p plan -d corpus.h5 -m tiny -o steady --steps $steps --checkpoint-every 20 \
    --lr 0.003 --schedule-steps $steps --json >steady.json

say "5/8  Train again, and kill a rank half-way (SIGKILL)"
ranks "$cores" "$lockstep" train -p plan -d corpus.h5 -m tiny -o "$out/broken" --steps $steps --checkpoint-every 20 \
    --lr 0.003 --schedule-steps $steps --json >broken.json 2>broken.log &
mpirun_pid=$!
trap 'kill "$mpirun_pid" 2>/dev/null || true' EXIT
steps_done() { if [ -f broken/metrics.jsonl ]; then wc -l <broken/metrics.jsonl; else echo 0; fi; }
until [ "$(steps_done)" -ge $((steps / 2)) ]; do
    kill -0 "$mpirun_pid" 2>/dev/null || { cat broken.log >&2; exit 1; }
    sleep 0.05
done
# The last of the run's ranks; the folder's path is in no other process' arguments.
victim=$(pgrep -n -f "^$lockstep train .* -o $out/broken ")
kill -KILL "$victim"
wait "$mpirun_pid" && status=0 || status=$?
trap - EXIT
echo "rank killed at step $(steps_done); mpirun ended with exit code $status"
"$lockstep" checkpoint list broken

say "6/8  Resume with another number of ranks: $((cores + 1))"
ranks $((cores + 1)) "$lockstep" resume broken --steps $steps --json >resumed.json

say "7/8  Prove it: every planned token fed once, and the bits of the run that never failed"
"$lockstep" verify broken --against steady --json >verify.json

say "8/8  Summary"
/usr/bin/python3 - <<'PYTHON'
import json, math, os
import h5py, numpy
read = lambda name: json.load(open(name))
vocabulary, ingest, plan, steady, resumed, verify = map(read, ["vocabulary.json", "ingest.json", "plan.json", "steady.json", "resumed.json", "verify.json"])
with h5py.File("corpus.h5", "r") as corpus:
    counts = numpy.bincount(corpus["tokens"][:]).astype(float)
p = counts[counts > 0] / counts.sum()
entropy = float(-(p * numpy.log(p)).sum())
print(f"""
  vocabulary           {vocabulary['vocabulary']:,} tokens learned in {vocabulary['seconds']:.1f} s, {vocabulary['bytes_per_token']:.2f} bytes each
  documents            {ingest['documents']:,} from Debian's fortunes, {ingest['tokens']:,} tokens
  packing              {100 * plan['utilization']:.2f} % of every pack is tokens; padding would have wasted {100 * plan['padding_waste_padded']:.0f} %
  speed                {steady['tokens_per_second']:,.0f} tokens/s, {100 * steady['sgemm_share']:.0f} % of fp32 sgemm ({steady['world_size']} ranks)
  loss                 {steady['first_loss']:.3f} -> {steady['last_loss']:.3f} nat a token; unigram entropy of the corpus {entropy:.3f}
  without failure      {steady['state_digest']}
  killed and resumed   {resumed['state_digest']}
  proof                {'every planned token once, all bits equal' if verify['proven'] else 'FAILED'}: {verify['packs']:,} packs, {verify['targets_trained']:,} targets
  everything is in     {os.getcwd()}

  Next:  lockstep inspect corpus.h5          lockstep batchplan info -p plan --show-batches 3
         lockstep train -o broken --step 100 --pack 401      (one pack again, compared with the ledger)
         lockstep doctor                     and the ten-minute tour in README.md
""")
assert verify["proven"] and steady["state_digest"] == resumed["state_digest"]
assert steady["last_loss"] < entropy
PYTHON
