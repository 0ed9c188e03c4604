"""Reads Lockstep plans in pure Python: NumPy, and h5py for plan folders.

    from lockstep_plan import Plan, PlanBatchSampler

    plan = Plan("plan/")                       # or a folder of `batchplan export --to torch-sampler`
    sampler = PlanBatchSampler(plan, rank=0, world_size=4)
    for epoch in range(plan.num_epochs):
        sampler.set_epoch(epoch)
        for samples in sampler:                # the sample numbers of one pack
            ...

A sampler goes where PyTorch takes a `batch_sampler`; nothing here needs PyTorch. Formats: docs/formats/plan.md;
how to use it: docs/python.md.
"""

import hashlib
import heapq
import json
import os
import struct

import numpy as np

PLAN_FORMAT, PLAN_VERSION = "lockstep-plan", 3
EXPORT_FORMAT, EXPORT_VERSION = "lockstep-plan-export", 1
USER_BLOCK_MAGIC, USER_BLOCK_VERSION = b"LSTEPCOL", 1
REQUIRED_COLUMNS = ("epoch_begin", "step_begin", "pack_begin", "pack_cost", "segment_sample",
                    "segment_offset", "segment_tokens")
OPTIONAL_COLUMNS = ("pack_targets", "pack_bucket", "pack_pad_tokens")


class PlanError(Exception):
    """A plan that cannot be read, or is not what its fingerprints say."""


def _require_version(path, what, found, newest):
    if found > newest:
        raise PlanError(f"'{path}': {what} version {found} is newer than the {newest} read here; "
                        "use a newer lockstep_plan.py")


def _read_json(path, expected_format, newest):
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except FileNotFoundError:
        raise PlanError(f"'{path}' is missing") from None
    except ValueError as error:
        raise PlanError(f"'{path}' is not JSON: {error}") from None
    if not isinstance(content, dict) or content.get("format") != expected_format:
        raise PlanError(f"'{path}' is not of format {expected_format}")
    _require_version(path, expected_format, content.get("format_version", 0), newest)
    return content


def _text(value):
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value if isinstance(value, str) else ""  # h5py gives empty text as Empty.


class _Hash:
    """As io/base/fingerprint.h: fields with their length in front, little-endian."""

    def __init__(self, tag):
        self._sha = hashlib.sha256()
        self._sha.update(struct.pack("<Q", len(tag)) + tag.encode())

    def number(self, value):
        self._sha.update(struct.pack("<Q", int(value)))
        return self

    def digest(self, value):
        self._sha.update(bytes.fromhex(value))
        return self

    def column(self, values):
        """Count, width and elements, in the fewest bytes that hold every element: 0, 1, 2, 4 or 8."""
        values = np.asarray(values)
        used = (int(values.max()).bit_length() + 7) // 8 if len(values) else 0
        width = 1 << (used - 1).bit_length() if used else 0
        self.number(len(values)).number(width)
        if width:
            self._sha.update(np.ascontiguousarray(values, dtype=f"<u{width}").tobytes())
        return self

    def finish(self):
        return self._sha.hexdigest()


def assign_packs(pack_cost, world_size):
    """Rank of every pack of one step: the assignment of plan/shard.h.

    Heaviest pack first, to the least loaded rank; ties to the earlier pack and the lower rank; no rank holds more
    than ceil(packs / world_size).
    """
    costs = [int(cost) for cost in pack_cost]
    if world_size < 1:
        raise ValueError(f"world_size is {world_size}; at least 1")
    at_most = -(-len(costs) // world_size)
    queue = [(0, rank) for rank in range(min(world_size, len(costs)))]
    held = [0] * len(queue)
    rank_of = [0] * len(costs)
    for pack in sorted(range(len(costs)), key=lambda p: -costs[p]):  # Stable: equal costs in plan order.
        load, rank = heapq.heappop(queue)
        rank_of[pack] = rank
        held[rank] += 1
        if held[rank] < at_most:
            heapq.heappush(queue, (load + costs[pack], rank))
    return rank_of


class Plan:
    """The columns of a plan; steps hold packs, packs hold segments."""

    def __init__(self, folder):
        self.folder = os.fspath(folder)
        if os.path.exists(os.path.join(self.folder, "plan.h5")):
            self._open_plan()
        elif os.path.exists(os.path.join(self.folder, "index.json")):
            self._open_export()
        else:
            raise PlanError(f"'{self.folder}' holds neither plan.h5 nor index.json; it is no plan")
        self._check_structure()

    def _open_plan(self):
        import h5py

        path = os.path.join(self.folder, "plan.h5")
        with open(path, "rb") as file:
            head = file.read(24)
        if len(head) < 24 or head[:8] != USER_BLOCK_MAGIC:
            raise PlanError(f"'{path}' does not begin with the mark of a Lockstep file")
        version, length = struct.unpack("<QQ", head[8:])
        _require_version(path, "user block", version, USER_BLOCK_VERSION)
        if length != os.path.getsize(path):
            raise PlanError(f"'{path}' has {os.path.getsize(path)} bytes, expected {length}; it was cut")
        prints = _read_json(os.path.join(self.folder, "fingerprints.json"), "lockstep-plan-fingerprints", 1)
        with h5py.File(path, "r") as file:
            if _text(file.attrs.get("format", "")) != PLAN_FORMAT:
                raise PlanError(f"'{path}' is not of format {PLAN_FORMAT}")
            version = int(file.attrs["format_version"])
            _require_version(path, PLAN_FORMAT, version, PLAN_VERSION)
            if version != PLAN_VERSION:
                raise PlanError(f"'{path}': version {version} is no longer read; build the plan again")
            texts = file["plan"].attrs
            tree = file["plan/fingerprint"].attrs
            self.fingerprint = _text(tree["plan"])
            if self.fingerprint != prints.get("plan"):
                raise PlanError(f"'{self.folder}': fingerprints.json is of another plan than plan.h5")
            self.options = json.loads(_text(texts["options"]))
            self.token_budget = self.options["token_budget"]
            self.parent = _text(texts["parent"]) or None
            self.from_step = int(_text(texts["from_step"]))
            self.sources = [{"name": _text(file[f"plan/source/{i}"].attrs["name"]), "sample_base": int(base),
                             "samples": int(count)}
                            for i, (base, count) in enumerate(zip(file["source_sample_base"][()],
                                                                  file["source_num_samples"][()]))]
            self._tree = {"settings": _text(tree["settings"]), "order": _text(tree["order"]),
                          "steps_per_chunk": int(_text(tree["steps_per_chunk"])),
                          "chunk_begin": file["chunk_begin"][()],
                          "chunks": _hex_rows(file["chunk_fingerprint"][()]),
                          "epochs": _hex_rows(file["epoch_fingerprint"][()])}
            for name in REQUIRED_COLUMNS + OPTIONAL_COLUMNS:
                dataset = file.get(name)
                if dataset is None and name in REQUIRED_COLUMNS:
                    raise PlanError(f"'{path}' has no column '{name}'")
                setattr(self, name, None if dataset is None else _mapped(path, dataset))

    def _open_export(self):
        path = os.path.join(self.folder, "index.json")
        index = _read_json(path, EXPORT_FORMAT, EXPORT_VERSION)
        self.fingerprint = index["plan"]
        self.options = self._tree = self.parent = None
        self.from_step = 0
        self.token_budget = index.get("token_budget")
        self.sources = index.get("sources", [])
        self._files = index["files"]
        for name in REQUIRED_COLUMNS + OPTIONAL_COLUMNS:
            file = os.path.join(self.folder, name + ".npy")
            if name + ".npy" not in self._files:
                if name in REQUIRED_COLUMNS:
                    raise PlanError(f"'{path}' names no column '{name}'; export with --to torch-sampler or npy")
                setattr(self, name, None)
                continue
            if not os.path.exists(file):
                raise PlanError(f"'{file}' is missing")
            if os.path.getsize(file) != self._files[name + ".npy"]["bytes"]:
                raise PlanError(f"'{file}' has another length than index.json says")
            array = np.load(file, mmap_mode="r", allow_pickle=False)
            setattr(self, name, array)

    def _check_structure(self):
        segments = len(self.segment_sample)
        chain = (("epoch_begin", self.epoch_begin, len(self.step_begin) - 1),
                 ("step_begin", self.step_begin, len(self.pack_begin) - 1),
                 ("pack_begin", self.pack_begin, segments))
        for name, offsets, rows in chain:
            if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != rows or np.any(offsets[1:] < offsets[:-1]):
                raise PlanError(f"'{self.folder}': {name} does not ascend from 0 to {rows}")
        if (len(self.segment_offset) != segments or len(self.segment_tokens) != segments
                or len(self.pack_cost) != self.num_packs):
            raise PlanError(f"'{self.folder}': its columns differ in length")

    @property
    def num_epochs(self):
        return len(self.epoch_begin) - 1

    @property
    def num_steps(self):
        return len(self.step_begin) - 1

    @property
    def num_packs(self):
        return len(self.pack_begin) - 1

    def epoch_of(self, step):
        return int(np.searchsorted(self.epoch_begin, self._step(step), side="right")) - 1

    def packs_of(self, step):
        """Numbers of the packs of a step, in order."""
        step = self._step(step)
        return range(int(self.step_begin[step]), int(self.step_begin[step + 1]))

    def segments_of(self, pack):
        """(sample, offset, tokens) of every segment of a pack, in order. Samples count over all sources."""
        if not 0 <= pack < self.num_packs:
            raise IndexError(f"pack {pack} does not exist; there are {self.num_packs}")
        rows = slice(int(self.pack_begin[pack]), int(self.pack_begin[pack + 1]))
        return list(zip(self.segment_sample[rows].tolist(), self.segment_offset[rows].tolist(),
                        self.segment_tokens[rows].tolist()))

    def samples_of(self, pack):
        return [sample for sample, _, _ in self.segments_of(pack)]

    def shard_of(self, step, rank, world_size):
        """Numbers of the packs of a step that belong to a rank, ascending."""
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not in a world of {world_size}")
        packs = self.packs_of(step)
        ranks = assign_packs(self.pack_cost[packs.start:packs.stop], world_size)
        return [pack for pack, owner in zip(packs, ranks) if owner == rank]

    def source_of(self, sample):
        """(name of the source, number within it) of a sample."""
        for source in reversed(self.sources):
            if source["sample_base"] <= sample:
                return source["name"], sample - source["sample_base"]
        raise IndexError(f"sample {sample} does not exist")

    def verify(self):
        """Recompute what the fingerprint stands on: every column of steps, packs and segments.

        A plan folder: the tree from its leaves to the plan's fingerprint (the settings' node is taken as it is).
        An export: the SHA-256 of every file. Raises PlanError at the first difference.
        """
        if self._tree is None:
            for name, expected in sorted(self._files.items()):
                sha = hashlib.sha256()
                with open(os.path.join(self.folder, name), "rb") as file:
                    for block in iter(lambda: file.read(1 << 20), b""):
                        sha.update(block)
                if sha.hexdigest() != expected["sha256"]:
                    raise PlanError(f"'{os.path.join(self.folder, name)}' is altered")
            return
        tree = self._tree
        bounds = [int(begin) for begin in tree["chunk_begin"]]
        chunks = list(zip(bounds, bounds[1:]))
        if len(chunks) != len(tree["chunks"]) or len(tree["epochs"]) != self.num_epochs:
            raise PlanError(f"'{self.folder}': the fingerprint tree has another shape than its epochs give")
        for (begin, end), expected in zip(chunks, tree["chunks"]):
            self._compare(f"steps {begin} to {end - 1}", expected, self._leaf(begin, end))
        order = _Hash("lockstep-plan-order-v1").number(tree["steps_per_chunk"]).number(self.num_epochs)
        for epoch, expected in enumerate(tree["epochs"]):
            first, last = int(self.epoch_begin[epoch]), int(self.epoch_begin[epoch + 1])
            leaves = [leaf for (begin, _), leaf in zip(chunks, tree["chunks"]) if first <= begin < last]
            node = _Hash("lockstep-plan-epoch-v1").number(epoch).number(first).number(last).number(len(leaves))
            for leaf in leaves:
                node.digest(leaf)
            self._compare(f"epoch {epoch}", expected, node.finish())
            order.digest(expected)
        self._compare("order", tree["order"], order.finish())
        root = _Hash("lockstep-plan-v1").digest(tree["settings"]).digest(tree["order"])
        root.number(1 if self.parent else 0).digest(self.parent or "00" * 32).number(self.from_step)
        self._compare("plan", self.fingerprint, root.finish())

    def _leaf(self, begin, end):
        first, last = int(self.step_begin[begin]), int(self.step_begin[end])
        rows = slice(int(self.pack_begin[first]), int(self.pack_begin[last]))
        node = _Hash("lockstep-plan-chunk-v2").number(begin).number(end).number(first)
        node.column(np.diff(self.step_begin[begin:end + 1])).column(np.diff(self.pack_begin[first:last + 1]))
        for column in (self.segment_sample, self.segment_offset, self.segment_tokens):
            node.column(column[rows])
        node.column(self.pack_cost[first:last])
        for column in (self.pack_targets, self.pack_bucket, self.pack_pad_tokens):
            node.number(0 if column is None else 1)
            if column is not None:
                node.column(column[first:last])
        return node.finish()

    def _compare(self, what, expected, found):
        if expected != found:
            raise PlanError(f"'{self.folder}': {what} has fingerprint {found[:12]}…, expected {expected[:12]}…")

    def _step(self, step):
        if not 0 <= step < self.num_steps:
            raise IndexError(f"step {step} does not exist; there are {self.num_steps}")
        return int(step)


def _hex_rows(values):
    raw = np.asarray(values, dtype=np.uint8).tobytes()
    return [raw[i:i + 32].hex() for i in range(0, len(raw), 32)]


def _mapped(path, dataset):
    """Columns are contiguous and little-endian, so they are mapped and not read."""
    offset = dataset.id.get_offset()
    if offset is None or dataset.size == 0:
        return dataset[()]
    return np.memmap(path, dtype=dataset.dtype, mode="r", offset=offset, shape=dataset.shape)


class PlanBatchSampler:
    """The packs of one rank, one epoch at a time, as a PyTorch `batch_sampler`.

    Iterating gives one list a pack: sample numbers, or with items="segments" (sample, offset, tokens), which is what
    a plan with split or truncated samples needs. `start_step` is absolute: earlier steps are left out, so that a
    job which has done 120 steps goes on with start_step=120, at any world size.

    Ranks may have different numbers of packs in a step (its packs do not divide, or the last step of an epoch is
    short). With even=True a rank that has fewer gives empty lists, so that all ranks give equally many.
    """

    def __init__(self, plan, rank=0, world_size=1, start_step=0, epoch=None, items="samples", even=False):
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not in a world of {world_size}")
        if not 0 <= start_step <= plan.num_steps:
            raise ValueError(f"start_step is {start_step}; the plan has {plan.num_steps} steps")
        if items not in ("samples", "segments"):
            raise ValueError(f"items is {items!r}; expected 'samples' or 'segments'")
        self.plan, self.rank, self.world_size, self.start_step = plan, rank, world_size, start_step
        self.items, self.even = items, even
        if epoch is None:
            epoch = plan.epoch_of(start_step) if start_step < plan.num_steps else plan.num_epochs - 1
        self.set_epoch(epoch)

    def set_epoch(self, epoch):
        if not 0 <= epoch < self.plan.num_epochs:
            raise ValueError(f"epoch {epoch} does not exist; the plan has {self.plan.num_epochs}")
        self.epoch = epoch

    def steps(self):
        """(step, this rank's packs) for every step still to come in the epoch."""
        begin, end = int(self.plan.epoch_begin[self.epoch]), int(self.plan.epoch_begin[self.epoch + 1])
        for step in range(max(begin, self.start_step), end):
            yield step, self.plan.shard_of(step, self.rank, self.world_size)

    def __iter__(self):
        read = self.plan.samples_of if self.items == "samples" else self.plan.segments_of
        for step, packs in self.steps():
            for pack in packs:
                yield read(pack)
            if self.even:
                for _ in range(self._most_in(step) - len(packs)):
                    yield []

    def __len__(self):
        return sum(self._most_in(step) if self.even else len(packs) for step, packs in self.steps())

    def _most_in(self, step):
        return -(-len(self.plan.packs_of(step)) // self.world_size)
