#!/usr/bin/env python3
"""Does PyTorch's own DataLoader give exactly the planned batches?

Ingests random texts, plans them (two epochs, split samples), exports a sampler, and reads it through
torch.utils.data.DataLoader: every world size 1 to 5, no and two loader processes, from the start and
from a step in the middle, stopped at one world size and gone on at another. What arrives, tokens
included, must be what plan.jsonl and the collated npz batches say. Run by hand (tests/oracle/README.md).

    /usr/bin/python3 tests/oracle/sampler_in_torch.py build/release/bin/lockstep
"""

import json
import pathlib
import random
import subprocess
import sys
import tempfile

import numpy as np
from torch.utils.data import DataLoader, Dataset


class Tokens(Dataset):
    """Whole samples by number; asked for by (sample, offset, tokens)."""

    def __init__(self, samples):
        self.samples = samples

    def __getitem__(self, item):
        sample, offset, tokens = item
        return sample, offset, self.samples[sample][offset:offset + tokens]


def as_it_comes(batch):
    return [(int(sample), int(offset), [int(token) for token in tokens]) for sample, offset, tokens in batch]


def main():
    lockstep = str(pathlib.Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)

        def run(*arguments):
            subprocess.run([lockstep, *map(str, arguments)], check=True, capture_output=True, cwd=folder)

        rng = random.Random(7)
        texts = ["".join(rng.choices("abcdefgh \n", k=rng.randint(1, 900))) for _ in range(300)]
        (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        run("ingest", "-d", "texts.jsonl", "-t", "bytes", "-o", "corpus.h5")
        run("batchplan", "build", "-l", "corpus.h5", "-b", 512, "-e", 2, "--packs-per-step", 6, "--jsonl", "always", "-o", "plan")
        run("batchplan", "export", "-p", "plan", "--to", "torch-sampler", "-o", "sampler")
        run("batchplan", "export", "-p", "plan", "--to", "npz", "-d", "corpus.h5", "-o", "batches")
        sys.path.insert(0, str(folder / "sampler"))
        from lockstep_plan import Plan, PlanBatchSampler

        plan = Plan(str(folder / "sampler"))
        plan.verify()
        samples = []
        for number in range(len(texts)):
            shown = subprocess.run([lockstep, "corpus", "show", "corpus.h5", str(number), "--tokens", "--json"],
                                   check=True, capture_output=True, cwd=folder, text=True)
            samples.append(json.loads(shown.stdout)["tokens"])
        dataset = Tokens(samples)

        def arrived(world_size, first_step, end_step, workers):
            """Batches by step, as a set of ranks reads them."""
            steps = {}
            for rank in range(world_size):
                sampler = PlanBatchSampler(plan, rank, world_size, first_step, items="segments")
                loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=as_it_comes, num_workers=workers)
                for epoch in range(sampler.epoch, plan.num_epochs):
                    sampler.set_epoch(epoch)
                    batches = iter(loader)
                    for step, packs in sampler.steps():
                        for pack in packs:
                            batch = next(batches)
                            if step < end_step:
                                steps.setdefault(step, {})[pack] = batch
                    assert next(batches, None) is None, "more batches than packs"
            return steps

        lines = [json.loads(line) for line in (folder / "plan" / "plan.jsonl").read_text().splitlines()]
        expected = {}
        for line in lines:
            step = expected.setdefault(line["step"], [])
            step.append((line["samples"], [end - begin for begin, end in line["packing"]]))
        collated = {step: np.load(folder / "batches" / f"step-{step:08d}.npz") for step in expected}
        runs = [(w, 0, plan.num_steps, workers) for w in range(1, 6) for workers in (0, 2)]
        runs += [(w, plan.num_steps * 2 // 3, plan.num_steps, 0) for w in (1, 3)]
        compared = 0

        def compare(steps, first_step, end_step):
            nonlocal compared
            assert sorted(steps) == list(range(first_step, end_step)), "steps"
            for step, packs in steps.items():
                assert len(packs) == len(expected[step]), f"packs of step {step}"
                for place, pack in enumerate(sorted(packs)):
                    batch = packs[pack]
                    assert ([s for s, _, _ in batch], [len(t) for _, _, t in batch]) == expected[step][place]
                    row = collated[step]["input_ids"][place]
                    tokens = [token for _, _, segment in batch for token in segment]
                    assert row[:len(tokens)].tolist() == tokens, f"tokens of step {step}, pack {place}"
                    compared += 1

        for world_size, first_step, end_step, workers in runs:
            compare(arrived(world_size, first_step, end_step, workers), first_step, end_step)
        half = plan.num_steps // 2
        joined = arrived(2, 0, half, 0)
        joined.update(arrived(5, half, plan.num_steps, 0))
        compare(joined, 0, plan.num_steps)
        print(f"{compared} batches of {len(runs) + 1} readings are as planned, {plan.num_steps} steps of 2 epochs")


main()
