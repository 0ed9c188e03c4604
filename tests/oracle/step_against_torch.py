#!/usr/bin/env python3
"""How fast is a training step beside a tuned PyTorch's on the same machine?

For each case `lockstep bench step` and PyTorch take turns in one run: the same model, tokens
and segments, whole steps (forward, loss, backward, AdamW) in float32. What counts is the
ratio of the two rates within a turn; seconds belong to the machine. Run by hand on a quiet
machine (tests/oracle/README.md).

    /usr/bin/python3 tests/oracle/step_against_torch.py build/release/bin/lockstep [-o FILE] [CASE ...]

A case is MODEL:SEGMENTSxTOKENS, MODEL gpt2-124m or small. Without cases: the table of
docs/benchmarks.md. The peer is tuned before it is timed: by its environment (core type of the
BLAS, threads that sleep, memory that stays), and by trying what depends on the case (threads,
loops of attention, AdamW). --lightly-tuned leaves it at core type and sleeping threads.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time

MODELS = {  # vocabulary, width, layers, heads: the presets of these names
    "gpt2-124m": (50257, 768, 12, 12),
    "small": (8192, 256, 4, 8),
}
POSITIONS = 1024
IGNORED = -1
# Least share of the sgemm probe's rate and least ratio to PyTorch that are wanted; None: not promised.
WANTED = {
    "gpt2-124m:4x256": (0.84, 1.75),
    "gpt2-124m:4x64": (0.68, 2.0),
    "gpt2-124m:1x1024": (0.78, None),
    "small:4x256": (0.64, 1.8),
    "small:4x64": (0.50, 1.9),
}

# ----------------------------------------------------------------- PyTorch, in a process of its own


def tuned_environment(threads, lightly):
    environment = {
        **os.environ,
        # OpenBLAS 0.3.21 takes newer CPUs for Haswell and leaves half their speed.
        "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", best_core_type()),
        # Three pools that spin on the same cores are PyTorch's greatest loss.
        "OMP_WAIT_POLICY": "passive",
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
    }
    if not lightly:
        # Logits and their gradients are not given back and faulted in anew at every step.
        environment |= {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
                        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    return environment


def best_core_type():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return "SkylakeX" if "avx512vl" in file.read().split() else "Haswell"


class PeerModel:
    """GPT-2 with a tied head, its AdamW and one batch of equal segments."""

    def __init__(self, model, segments, tokens):
        import torch

        torch.manual_seed(1)
        self.vocabulary, self.width, self.layers, self.heads = MODELS[model]
        self.ids = torch.randint(0, self.vocabulary, (segments, tokens))
        self.targets = torch.cat((self.ids[:, 1:], torch.full((segments, 1), IGNORED)), 1)
        self.positions = torch.arange(tokens)
        c = self.width

        def weight(*shape):
            return (0.02 * torch.randn(shape)).requires_grad_()

        def gain():
            return torch.ones(c, requires_grad=True)

        def zeros(*shape):
            return torch.zeros(shape, requires_grad=True)

        self.token_table, self.position_table = weight(self.vocabulary, c), weight(POSITIONS, c)
        self.blocks = [
            dict(ln1=(gain(), zeros(c)), qkv=(weight(3 * c, c), zeros(3 * c)), out=(weight(c, c), zeros(c)),
                 ln2=(gain(), zeros(c)), up=(weight(4 * c, c), zeros(4 * c)), down=(weight(c, 4 * c), zeros(c)))
            for _ in range(self.layers)
        ]
        self.ln_f = (gain(), zeros(c))
        self.parameters = [self.token_table, self.position_table, *self.ln_f,
                           *itertools.chain(*(pair for block in self.blocks for pair in block.values()))]
        self.optimizer, self.attention_rows = None, tokens
        self.masks = {}

    def flop(self):
        """Useful operations of a step, as `bench step` counts them."""
        segments, tokens = self.ids.shape
        matrices = 12 * self.layers * self.width**2 + self.vocabulary * self.width
        return segments * tokens * (6.0 * matrices + 6.0 * self.layers * self.width * (tokens + 1))

    def choose(self, threads, attention_rows, foreach):
        """How a step is computed: threads, queries of a pass of attention, AdamW over lists of tensors or one by one."""
        import torch

        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        self.attention_rows = attention_rows
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-4, foreach=foreach)
        segments, tokens = self.ids.shape
        self.masks = {}
        for begin in range(0, tokens, attention_rows):
            end = min(begin + attention_rows, tokens)
            mask = torch.full((end - begin, end), float("-inf")).triu(begin + 1)
            self.masks[begin] = mask.expand(segments * self.heads, -1, -1)

    def attention(self, q, k, v):
        """(segments x heads, T, d). Queries in passes that see no key past their last; scale and mask in the product."""
        import torch

        tokens, head_dim = q.shape[1:]
        rows = []
        for begin, mask in self.masks.items():
            end = min(begin + self.attention_rows, tokens)
            scores = torch.baddbmm(mask, q[:, begin:end], k[:, :end].transpose(1, 2), alpha=head_dim**-0.5)
            rows.append(scores.softmax(-1) @ v[:, :end])
        return rows[0] if len(rows) == 1 else torch.cat(rows, 1)

    def loss(self):
        import torch.nn.functional as F

        segments, tokens = self.ids.shape
        c, heads = self.width, self.heads
        x = F.embedding(self.ids, self.token_table) + self.position_table[self.positions]
        for block in self.blocks:
            qkv = F.linear(F.layer_norm(x, (c,), *block["ln1"]), *block["qkv"])
            qkv = qkv.view(segments, tokens, 3, heads, c // heads).permute(2, 0, 3, 1, 4)
            q, k, v = (t.reshape(segments * heads, tokens, c // heads) for t in qkv)
            y = self.attention(q, k, v).view(segments, heads, tokens, c // heads)
            x = x + F.linear(y.transpose(1, 2).reshape(segments, tokens, c), *block["out"])
            h = F.gelu(F.linear(F.layer_norm(x, (c,), *block["ln2"]), *block["up"]), approximate="tanh")
            x = x + F.linear(h, *block["down"])
        logits = F.linear(F.layer_norm(x, (c,), *self.ln_f), self.token_table)
        return F.cross_entropy(logits.view(-1, self.vocabulary), self.targets.view(-1), ignore_index=IGNORED)

    def step(self):
        begin = time.perf_counter()
        self.loss().backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - begin

    def measure(self, seconds):
        """Steps for about so long, at least two [s each]."""
        times, begin = [], time.perf_counter()
        while len(times) < 2 or time.perf_counter() - begin < seconds:
            times.append(self.step())
        return times

    def tune(self, threads, seconds, lightly):
        """The fastest way to compute a step, one choice after the other, the others as they stand."""
        tokens = self.ids.shape[1]
        chosen = {"threads": threads, "attention_rows": tokens, "foreach": False}
        options = {} if lightly else {
            "threads": sorted({1, threads}),
            "attention_rows": sorted({tokens} | {rows for rows in (64, 128, 256) if rows < tokens}),
            "foreach": [False, True],
        }
        for name, values in options.items():
            times = {}
            for value in values:
                self.choose(**{**chosen, name: value})
                self.step()  # Warms up.
                times[value] = min(self.measure(seconds))
            chosen[name] = min(times, key=times.get)
        self.choose(**chosen)
        self.step()
        return chosen


def serve_peer(arguments):
    """Answers a line of seconds with a line of step times, after one that says how the peer was tuned."""
    model, segments, tokens = parse_case(arguments.cases[0])
    peer = PeerModel(model, segments, tokens)
    chosen = peer.tune(arguments.threads, arguments.seconds / 4, arguments.lightly_tuned)
    import torch

    print(json.dumps({"torch": torch.__version__, "flop": peer.flop(), **chosen}), flush=True)
    for line in sys.stdin:
        print(json.dumps(peer.measure(float(line))), flush=True)


# ----------------------------------------------------------------- taking turns


class Peer:
    def __init__(self, case, arguments):
        command = [sys.executable, os.path.abspath(__file__), "--peer", "--threads", str(arguments.threads),
                   "--seconds", str(arguments.seconds), *(["--lightly-tuned"] if arguments.lightly_tuned else []),
                   arguments.program, case]
        self.process = subprocess.Popen(command, env=tuned_environment(arguments.threads, arguments.lightly_tuned),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.described = self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"error: PyTorch's process ended with code {self.process.wait()}; its last words are above")
        return json.loads(line)

    def median_seconds(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return statistics.median(self.read())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        self.process.wait()


def bench_step(program, case, threads, seconds):
    command = [program, "bench", "step", "--case", case, "--threads", str(threads), "--seconds", str(seconds), "--json"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"error: {' '.join(command)} ended with code {result.returncode}:\n{result.stderr}")
    (row,) = (row for row in json.loads(result.stdout)["rows"] if row["what"] == case)
    return row


def parse_case(case):
    model, _, packing = case.partition(":")
    segments, _, tokens = packing.partition("x")
    if model not in MODELS or not segments.isdigit() or not tokens.isdigit() or not 1 <= int(tokens) <= POSITIONS:
        sys.exit(f"error: case '{case}'; expected MODEL:SEGMENTSxTOKENS, MODEL one of {', '.join(MODELS)}, "
                 f"TOKENS at most {POSITIONS}")
    return model, int(segments), int(tokens)


def compare(arguments, case):
    with Peer(case, arguments) as peer:
        ours, theirs = [], [peer.median_seconds(arguments.seconds)]
        for _ in range(arguments.turns):
            ours.append(bench_step(arguments.program, case, arguments.threads, arguments.seconds))
            theirs.append(peer.median_seconds(arguments.seconds))
    flop = peer.described["flop"]
    if abs(ours[0]["flop"] - flop) > 1e-9 * flop:
        sys.exit(f"error: {case} is {ours[0]['flop']:.6e} useful operations to bench step and {flop:.6e} here; "
                 "the two models differ")
    # A turn of ours stands between two of PyTorch's: a change of the machine's speed meets both.
    ratios = [(before + after) / 2 / row["seconds"] for row, before, after in zip(ours, theirs, theirs[1:])]
    share_wanted, ratio_wanted = WANTED.get(case, (None, None))
    tokens = ours[0]["tokens"]
    return {
        "case": case, "tokens": tokens,
        "ratio": statistics.median(ratios), "ratio_least": min(ratios), "ratio_most": max(ratios),
        "ratio_wanted": ratio_wanted,
        "sgemm_share": statistics.median(row["sgemm_share"] for row in ours), "sgemm_share_wanted": share_wanted,
        "tokens_per_second": tokens / statistics.median(row["seconds"] for row in ours),
        "torch_tokens_per_second": tokens / statistics.median(theirs),
        "peer": peer.described,
    }


def shown(value, wanted):
    return f"{value:.2f}" + ("" if wanted is None else f" (wanted {wanted:.2f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the built lockstep")
    parser.add_argument("cases", nargs="*", default=list(WANTED), metavar="CASE")
    parser.add_argument("-o", "--output", help="JSON file to write")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=8, help="of a turn, about")
    parser.add_argument("--turns", type=int, default=3, help="of each case")
    parser.add_argument("--lightly-tuned", action="store_true", help="PyTorch by its environment alone")
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_intermixed_args()
    if arguments.peer:
        serve_peer(arguments)
        return
    if arguments.threads < 1 or arguments.turns < 1:
        parser.error("--threads and --turns are 1 or more")
    for case in arguments.cases:
        parse_case(case)
    if not os.access(arguments.program, os.X_OK):
        parser.error(f"'{arguments.program}' is no program; build it and name its path, such as build/release/bin/lockstep")
    if arguments.output and os.path.exists(arguments.output):
        parser.error(f"'{arguments.output}' exists already; name another file")
    print(f"{'case':<18} {'of PyTorch':<21} {'turns':<11} {'of the sgemm probe':<21} tokens/s   PyTorch's, tuned")
    rows = []
    for case in arguments.cases:
        row = compare(arguments, case)
        rows.append(row)
        peer = row["peer"]
        print(f"{case:<18} {shown(row['ratio'], row['ratio_wanted']):<21} "
              f"{row['ratio_least']:.2f}..{row['ratio_most']:<5.2f} "
              f"{shown(row['sgemm_share'], row['sgemm_share_wanted']):<21} {row['tokens_per_second']:<10.0f} "
              f"{row['torch_tokens_per_second']:.0f} ({peer['threads']} thread(s), attention by "
              f"{peer['attention_rows']} queries, AdamW {'foreach' if peer['foreach'] else 'by tensor'})", flush=True)
    if arguments.output:
        with open(arguments.output, "x", encoding="utf-8") as file:
            json.dump({"format": "lockstep-step-against-torch", "version": 1, "threads": arguments.threads,
                       "lightly_tuned": arguments.lightly_tuned, "turns": arguments.turns, "rows": rows}, file, indent=2)
            file.write("\n")


if __name__ == "__main__":
    main()
