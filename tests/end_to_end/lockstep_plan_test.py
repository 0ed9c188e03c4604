"""The Python reader and the program must tell the same of a plan: steps, shards, samplers, batches.

Usage: lockstep_plan_test.py LOCKSTEP_BINARY FOLDER_OF_THE_READER
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

import h5py  # Needed, not optional: without it this test fails.
import numpy as np

BINARY, READER = sys.argv[1], sys.argv[2]
sys.dont_write_bytecode = True
sys.path.insert(0, READER)

from lockstep_plan import Plan, PlanBatchSampler, PlanError, assign_packs  # noqa: E402


def lockstep(*arguments):
    done = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"lockstep {arguments} gave {done.returncode}: {done.stderr}")
    return done.stdout


class ReaderTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="lockstep-python-")
        draws = random.Random(7)
        words = "a plan decides what is trained and when".split()
        with open(cls.path("texts.jsonl"), "w", encoding="utf-8") as file:
            for i in range(240):
                text = " ".join(draws.choice(words) for _ in range(draws.randint(1, 70)))
                file.write(json.dumps({"text": text, "id": f"doc-{i}"}) + "\n")
        lockstep("ingest", "-d", cls.path("texts.jsonl"), "-t", "bytes", "-o", cls.path("corpus.h5"))
        lockstep("batchplan", "build", "-l", cls.path("corpus.h5"), "-e", 2, "-b", 256, "--packs-per-step", 7,
                 "--jsonl", "always", "-o", cls.path("plan"))
        lockstep("batchplan", "build", "-l", cls.path("corpus.h5"), "-b", 512, "--mode", "bucket",
                 "--bucket-edges", "64", "128", "--bucket-overflow-max", "256", "-o", cls.path("buckets"))
        lockstep("batchplan", "exclude", "-p", cls.path("plan"), "--step", 3, "--from-step", 2, "-o",
                 cls.path("revision"))
        lockstep("batchplan", "export", "-p", cls.path("plan"), "--to", "torch-sampler", "-o", cls.path("sampler"))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder, name)

    def lines(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def test_every_pack_is_the_one_of_plan_jsonl(self):
        for name in ("plan", "sampler"):
            plan = Plan(self.path(name))
            lines = self.lines("plan/plan.jsonl")
            self.assertEqual(plan.num_packs, len(lines))
            for line in lines:
                self.assertIn(line["pack"], plan.packs_of(line["step"]))
                self.assertEqual(plan.epoch_of(line["step"]), line["epoch"])
                self.assertEqual(plan.samples_of(line["pack"]), line["samples"])
                segments = plan.segments_of(line["pack"])
                self.assertEqual([tokens for _, _, tokens in segments], [b - a for a, b in line["packing"]])
                self.assertEqual([offset for _, offset, _ in segments],
                                 line.get("offsets", [0] * len(segments)))

    def test_fingerprints_recompute_and_alterations_are_found(self):
        for name in ("plan", "buckets", "revision", "sampler"):
            Plan(self.path(name)).verify()
        altered = self.path("altered")
        shutil.copytree(self.path("plan"), altered)
        with h5py.File(os.path.join(altered, "plan.h5"), "r+") as file:
            file["segment_sample"][5] += 1
        with self.assertRaisesRegex(PlanError, "steps 0 to"):
            Plan(altered).verify()
        with open(os.path.join(altered, "plan.h5"), "ab") as file:
            file.write(b"x")
        with self.assertRaisesRegex(PlanError, "it was cut"):
            Plan(altered)
        with open(os.path.join(altered, "plan.h5"), "r+b") as file:
            file.write(b"NOTOURS!")
        with self.assertRaisesRegex(PlanError, "mark of a Lockstep file"):
            Plan(altered)
        export = self.path("altered-export")
        shutil.copytree(self.path("sampler"), export)
        with open(os.path.join(export, "segment_sample.npy"), "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\x7f")
        with self.assertRaisesRegex(PlanError, "is altered"):
            Plan(export).verify()
        with self.assertRaisesRegex(PlanError, "is no plan"):
            Plan(self.folder)

    def test_a_newer_plan_is_refused_by_number(self):
        newer = self.path("newer")
        shutil.copytree(self.path("plan"), newer)
        with h5py.File(os.path.join(newer, "plan.h5"), "r+") as file:
            file.attrs.modify("format_version", np.uint64(99))
        with open(os.path.join(newer, "plan.h5"), "r+b") as file:  # The length is not what is tested here.
            length = file.seek(0, os.SEEK_END)
            file.seek(16)
            file.write(length.to_bytes(8, "little"))
        with self.assertRaisesRegex(PlanError, "version 99"):
            Plan(newer)

    def test_shards_are_those_of_the_program(self):
        for name in ("plan", "buckets", "revision", "sampler"):
            plan = Plan(self.path(name))
            for world in (1, 2, 3, 5, 8, 13):
                shards = self.path(f"shards-{name}-{world}")
                if name != "sampler":
                    lockstep("batchplan", "shard", "-p", self.path(name), "--world-size", world, "-o", shards)
                else:
                    shards = self.path(f"shards-plan-{world}")
                    if not os.path.exists(shards):
                        lockstep("batchplan", "shard", "-p", self.path("plan"), "--world-size", world, "-o", shards)
                for rank in range(world):
                    expected = [(line["step"], line["pack"])
                                for line in self.lines(f"{os.path.basename(shards)}/rank-{rank:05d}.jsonl")]
                    found = [(step, pack) for step in range(plan.num_steps)
                             for pack in plan.shard_of(step, rank, world)]
                    self.assertEqual(found, expected, f"{name}, rank {rank} of {world}")

    def test_assignment_is_balanced_and_bounded(self):
        draws = random.Random(3)
        for _ in range(300):
            costs = [draws.randint(0, 5) * 10 ** draws.randint(0, 19) for _ in range(draws.randint(0, 20))]
            world = draws.randint(1, 9)
            ranks = assign_packs(costs, world)
            self.assertEqual(len(ranks), len(costs))
            for rank in set(ranks):
                self.assertLessEqual(ranks.count(rank), -(-len(costs) // world))

    def test_samplers_of_all_ranks_give_every_pack_once(self):
        plan = Plan(self.path("plan"))
        for world in (1, 2, 4, 9):
            for epoch in range(plan.num_epochs):
                begin, end = int(plan.epoch_begin[epoch]), int(plan.epoch_begin[epoch + 1])
                expected = sorted(plan.segments_of(pack) for step in range(begin, end) for pack in plan.packs_of(step))
                found = []
                for rank in range(world):
                    sampler = PlanBatchSampler(plan, rank, world, epoch=epoch, items="segments")
                    batches = list(sampler)
                    self.assertEqual(len(sampler), len(batches))
                    found += batches
                self.assertEqual(sorted(found), expected)

    def test_a_resumed_sampler_gives_the_rest_at_any_world_size(self):
        plan = Plan(self.path("plan"))
        for start in range(0, plan.num_steps + 1, 3):
            for world in (1, 3):
                rest = []
                for rank in range(world):
                    sampler = PlanBatchSampler(plan, rank, world, start_step=start)
                    for epoch in range(sampler.epoch, plan.num_epochs):
                        sampler.set_epoch(epoch)
                        rest += [pack for _, packs in sampler.steps() for pack in packs]
                self.assertEqual(sorted(rest), list(range(int(plan.step_begin[start]), plan.num_packs)))

    def test_even_samplers_are_equally_long(self):
        plan = Plan(self.path("plan"))
        for world in (2, 3, 5, 16):
            samplers = [PlanBatchSampler(plan, rank, world, even=True) for rank in range(world)]
            self.assertEqual(len({len(sampler) for sampler in samplers}), 1)
            for sampler in samplers:
                self.assertEqual(len(list(sampler)), len(sampler))

    def test_wrong_arguments_are_named(self):
        plan = Plan(self.path("plan"))
        for arguments in ({"rank": 2, "world_size": 2}, {"start_step": plan.num_steps + 1}, {"items": "packs"},
                          {"epoch": 2}):
            with self.assertRaises(ValueError):
                PlanBatchSampler(plan, **arguments)
        with self.assertRaises(IndexError):
            plan.packs_of(plan.num_steps)

    def test_batches_hold_what_the_corpus_says(self):
        lockstep("batchplan", "export", "-p", self.path("plan"), "--to", "npz", "-d", self.path("corpus.h5"), "-o",
                 self.path("batches"))
        plan = Plan(self.path("plan"))
        with h5py.File(self.path("corpus.h5"), "r") as corpus:
            tokens, begin = corpus["tokens"][()], corpus["sample_begin"][()]
        for step in range(plan.num_steps):
            with np.load(self.path(f"batches/step-{step:08d}.npz"), allow_pickle=False) as batch:
                packs = list(plan.packs_of(step))
                self.assertEqual(batch["packs"].tolist(), packs)
                longest = max(sum(t for _, _, t in plan.segments_of(pack)) for pack in packs)
                self.assertEqual(batch["input_ids"].shape, (len(packs), longest))
                row_of_segment = 0
                for row, pack in enumerate(packs):
                    at = 0
                    for number, (sample, offset, count) in enumerate(plan.segments_of(pack), start=1):
                        ids = tokens[int(begin[sample]) + offset:][:count]
                        where = (row, slice(at, at + count))
                        np.testing.assert_array_equal(batch["input_ids"][where], ids)
                        np.testing.assert_array_equal(batch["position_ids"][where], np.arange(count))
                        self.assertTrue((batch["segment_ids"][where] == number).all())
                        self.assertTrue((batch["attention_mask"][where] == 1).all())
                        np.testing.assert_array_equal(batch["labels"][row, at:at + count - 1], ids[1:])
                        self.assertEqual(batch["labels"][row, at + count - 1], -100)
                        self.assertEqual(batch["segment_row"][row_of_segment], row)
                        self.assertEqual(batch["segment_begin"][row_of_segment], at)
                        self.assertEqual(batch["segment_sample"][row_of_segment], sample)
                        self.assertEqual(batch["segment_offset"][row_of_segment], offset)
                        at += count
                        row_of_segment += 1
                    for name in ("attention_mask", "segment_ids", "position_ids", "loss_mask"):
                        self.assertFalse(batch[name][row, at:].any())
                np.testing.assert_array_equal(batch["loss_mask"] == 1, batch["labels"] != -100)
                self.assertEqual(int(batch["loss_mask"].sum()),
                                 int(plan.pack_targets[packs[0]:packs[-1] + 1].sum()))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
