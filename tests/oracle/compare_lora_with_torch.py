#!/usr/bin/env python3
"""Are our adapters what PEFT means by LoRA?

Makes random models, trains adapters on them with the program, and computes logits, loss and
the gradient of every A and B of a pack again with plain PyTorch in double precision, from the
frozen model's folder and the folder that `checkpoint export --adapter` wrote. Also asks that
the merged export is the sum of both. Run by hand (tests/oracle/README.md).

    /usr/bin/python3 tests/oracle/compare_lora_with_torch.py build/release/bin/lockstep
"""

import json
import pathlib
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F

from compare_with_torch import CASES, GPT2, Llama, judge, norm, read_safetensors, run, write_safetensors

PREFIX = "base_model.model."
LORAS = {
    "gpt2": ["all-linear", "c_attn"],
    "gpt2-untied": ["c_proj"],
    "llama-gqa": ["all-linear", "q_proj,v_proj"],
    "qwen2": ["k,gate,down"],
}


class Adapted(dict):
    """Weights by name; those with an adapter are W + alpha/r B A, as PEFT's layers add up."""

    def __init__(self, base, adapters, settings, dtype):
        super().__init__({name: torch.tensor(array, dtype=dtype) for name, array in base.items()})
        self.adapters = {n: torch.tensor(a, dtype=dtype, requires_grad=True) for n, a in adapters.items()}
        for name in adapters:
            if not name.endswith(".lora_A.weight"):
                continue
            module = name[len(PREFIX) : -len(".lora_A.weight")]
            a, b = self.adapters[name], self.adapters[f"{PREFIX}{module}.lora_B.weight"]
            delta = (b @ a) * (settings["lora_alpha"] / settings["r"])
            self[module + ".weight"] = self[module + ".weight"] + (delta.T if settings["fan_in_fan_out"] else delta)


def compute(config, base, adapters, settings, dump, dtype):
    weights = Adapted(base, adapters, settings, dtype)
    model = (GPT2 if config["model_type"] == "gpt2" else Llama)(config, weights)
    integers = {n: torch.tensor(dump[n].astype(np.int64)) for n in ("token_ids", "position_ids", "targets")}
    logits = model.logits(integers["token_ids"], integers["position_ids"], dump["cu_seqlens"].tolist())
    loss = F.cross_entropy(logits, integers["targets"], ignore_index=-1, reduction="sum")
    (loss * torch.tensor(float(dump["scale"]), dtype=dtype)).backward()
    gradients = {name: tensor.grad.double().numpy() for name, tensor in weights.adapters.items()}
    merged = {name: tensor.detach().double().numpy() for name, tensor in weights.items()}
    return logits.detach().double().numpy(), float(loss), gradients, merged


def compare(config, base, folder, merged_folder, dump):
    adapters = read_safetensors(folder / "adapter_model.safetensors")
    settings = json.loads((folder / "adapter_config.json").read_text())
    if not all(np.array_equal(dump["weight." + name], array) for name, array in {**base, **adapters}.items()):
        print("  FAILED the weights are not those of the folders")
        return False
    if sorted(n[len("gradient.") :] for n in dump if n.startswith("gradient.")) != sorted(adapters):
        print("  FAILED the gradient is not that of the adapters")
        return False
    exact, single = (compute(config, base, adapters, settings, dump, t) for t in (torch.float64, torch.float32))
    ok, worst = True, []
    ok &= judge("logits", dump["logits"], exact[0], single[0], norm(exact[0]), worst)
    ok &= judge("loss", dump["loss_sum"], exact[1], single[1], exact[1], worst)
    for name, gradient in exact[2].items():
        ok &= judge("gradient " + name, dump["gradient." + name], gradient, single[2][name], norm(gradient), worst)
    merged = read_safetensors(merged_folder / "model.safetensors")
    for name, weight in exact[3].items():
        ok &= judge("merged " + name, merged[name], weight, single[3][name], norm(weight), worst)
    error, theirs, what = max(worst)
    print(f"  {len(worst)} compared, worst {error:.2e} (PyTorch float32 {theirs:.2e}): {what}")
    return ok


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    torch.set_num_threads(1)
    failed = []
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        rng = np.random.default_rng(21)
        words = ["plan", "rank", "token", "step", "pack", "ledger", "bits", "the", "of", "and", "once", "each"]
        lines = [" ".join(rng.choice(words, rng.integers(1, 60))) for _ in range(120)]
        (scratch / "texts.txt").write_text("\n".join(lines) + "\n")
        corpus, plan = scratch / "corpus.h5", scratch / "plan"
        run(program, "ingest", "-d", scratch / "texts.txt", "-t", "bytes", "--document", "line", "-o", corpus)
        run(program, "batchplan", "build", "-l", corpus, "-b", "384", "--packs-per-step", "2", "-o", plan)
        for name, target_lists in LORAS.items():
            config, weights = CASES[name](np.random.default_rng(7))
            prefix = "transformer." if config["model_type"] == "gpt2" else "model."
            weights = {n if n.startswith((prefix, "lm_head")) else prefix + n: w for n, w in weights.items()}
            source = scratch / f"{name}-source"
            source.mkdir()
            (source / "config.json").write_text(json.dumps(config))
            write_safetensors(source / "model.safetensors", weights)
            for targets in target_lists:
                what = f"{name} on {targets}"
                print(what)
                trained, adapter, merged, dump = (
                    scratch / f"{name}-{targets}-{x}" for x in ("run", "adapter", "merged", "dump.safetensors"))
                run(program, "train", "-p", plan, "-d", corpus, "--init", source, "-o", trained, "--steps", "4",
                    "--warmup", "0", "--lr", "0.01", "--lora-rank", "4", "--lora-targets", targets, "--quiet")
                run(program, "checkpoint", "export", "-r", trained, "--adapter", "-o", adapter)
                run(program, "checkpoint", "export", "-r", trained, "-o", merged)
                run(program, "train", "-o", trained, "--step", "4", "--pack", "8", "--dump", dump)
                if not compare(config, weights, adapter, merged, read_safetensors(dump)):
                    failed.append(what)
    print("all agree" if not failed else "FAILED: " + ", ".join(failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
