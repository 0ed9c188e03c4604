#!/usr/bin/env python3
"""Is our forward and backward the computation that Hugging Face's models mean?

Makes random models of the GPT-2 and Llama families, trains them a few steps with the
program, and computes logits, loss and every gradient of a pack again with plain PyTorch in
double precision, from the folder that `checkpoint export` wrote. Run by hand; PyTorch is
no dependency of the project (tests/oracle/README.md).

    /usr/bin/python3 tests/oracle/compare_with_torch.py build/release/bin/lockstep [--seed N] [CASE ...]

A tensor passes if ||ours - double|| / ||double|| <= max(2e-6, 1.2 x the same of PyTorch in
float32); what is zero in exact arithmetic, GPT-2's bias of keys, is judged absolutely.
"""

import argparse
import json
import math
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F

FLOOR = 2e-6
FACTOR = 1.2

# ----------------------------------------------------------------- safetensors

TYPES = {"F64": np.float64, "F32": np.float32, "U32": np.uint32, "I32": np.int32}


def read_safetensors(path):
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        array = np.frombuffer(data[begin:end], dtype=TYPES[entry["dtype"]])
        tensors[name] = array.reshape(entry["shape"])
    return tensors


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in tensors.values():
            file.write(np.ascontiguousarray(array, dtype="<f4").tobytes())


# ----------------------------------------------------------------- the models, as their library defines them


def causal_attention(q, k, v):
    """(heads, T, d) each; one segment."""
    tokens = q.shape[1]
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[2])
    mask = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    return scores.masked_fill(mask, float("-inf")).softmax(-1) @ v


def split_heads(x, heads):
    return x.reshape(x.shape[0], heads, -1).transpose(0, 1)


def join_heads(x):
    return x.transpose(0, 1).reshape(x.shape[1], -1)


def by_segment(cu_seqlens, attend, *rows):
    pieces = []
    for begin, end in zip(cu_seqlens[:-1], cu_seqlens[1:]):
        pieces.append(attend(*(r[begin:end] for r in rows)))
    return torch.cat(pieces)


class GPT2:
    """transformers' GPT2LMHeadModel: Conv1D weights are (in, out)."""

    def __init__(self, config, weights):
        self.c, self.w = config, weights

    def norm(self, x, name):
        return F.layer_norm(x, x.shape[-1:], self.w[name + ".weight"], self.w[name + ".bias"],
                            self.c["layer_norm_epsilon"])

    def conv1d(self, x, name):
        return x @ self.w[name + ".weight"] + self.w[name + ".bias"]

    def logits(self, ids, positions, cu_seqlens):
        heads = self.c["n_head"]
        x = self.w["transformer.wte.weight"][ids] + self.w["transformer.wpe.weight"][positions]
        for i in range(self.c["n_layer"]):
            p = f"transformer.h.{i}."
            q, k, v = self.conv1d(self.norm(x, p + "ln_1"), p + "attn.c_attn").chunk(3, -1)
            attend = lambda a, b, c: join_heads(causal_attention(*(split_heads(t, heads) for t in (a, b, c))))
            x = x + self.conv1d(by_segment(cu_seqlens, attend, q, k, v), p + "attn.c_proj")
            h = self.conv1d(self.norm(x, p + "ln_2"), p + "mlp.c_fc")
            h = 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))  # gelu_new
            x = x + self.conv1d(h, p + "mlp.c_proj")
        head = self.w.get("lm_head.weight", self.w["transformer.wte.weight"])
        return self.norm(x, "transformer.ln_f") @ head.T


def inverse_frequencies(c, head_dim):
    """modeling_rope_utils; returns frequencies in double and the attention factor."""
    base = c["rope_theta"]
    scaling = c.get("rope_scaling") or {"rope_type": "default"}
    kind = scaling.get("rope_type", scaling.get("type"))
    plain = 1.0 / base ** (torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    if kind == "default":
        return plain, 1.0
    factor = scaling["factor"]
    if kind == "linear":
        return plain / factor, 1.0
    if kind == "llama3":
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        old = scaling["original_max_position_embeddings"]
        wavelen = 2 * math.pi / plain
        scaled = torch.where(wavelen > old / low, plain / factor, plain)
        smooth = (old / wavelen - low) / (high - low)
        mixed = (1 - smooth) * scaled / factor + smooth * scaled
        medium = ~(wavelen < old / high) & ~(wavelen > old / low)
        return torch.where(medium, mixed, scaled), 1.0
    assert kind == "yarn", kind
    old = scaling.get("original_max_position_embeddings", c["max_position_embeddings"])
    dimension = lambda turns: head_dim * math.log(old / (turns * 2 * math.pi)) / (2 * math.log(base))
    low = max(math.floor(dimension(scaling.get("beta_fast", 32))), 0)
    high = min(math.ceil(dimension(scaling.get("beta_slow", 1))), head_dim - 1)
    if low == high:
        high += 0.001
    ramp = ((torch.arange(head_dim // 2, dtype=torch.float64) - low) / (high - low)).clamp(0, 1)
    attention_factor = scaling.get("attention_factor", 0.1 * math.log(factor) + 1)
    return plain / factor * ramp + plain * (1 - ramp), attention_factor


class Llama:
    """transformers' LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM."""

    def __init__(self, config, weights):
        self.c, self.w = config, weights

    def norm(self, x, name):
        return self.w[name + ".weight"] * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.c["rms_norm_eps"]))

    def linear(self, x, name):
        return F.linear(x, self.w[name + ".weight"], self.w.get(name + ".bias"))

    def logits(self, ids, positions, cu_seqlens):
        heads, kv_heads = self.c["num_attention_heads"], self.c["num_key_value_heads"]
        head_dim = self.c.get("head_dim") or self.c["hidden_size"] // heads
        frequencies, factor = inverse_frequencies(self.c, head_dim)
        angles = positions.double()[:, None] * frequencies
        angles = torch.cat((angles, angles), -1)
        x = self.w["model.embed_tokens.weight"][ids]
        cos, sin = ((f(angles) * factor).to(x.dtype) for f in (torch.cos, torch.sin))

        def turned(t):
            half = torch.cat((-t[..., head_dim // 2 :], t[..., : head_dim // 2]), -1)  # rotate_half
            return t * cos + half * sin

        def attend(q, k, v):  # (T, heads, d) of one segment
            k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
            return join_heads(causal_attention(*(t.transpose(0, 1) for t in (q, k, v))))

        for i in range(self.c["num_hidden_layers"]):
            p = f"model.layers.{i}."
            h = self.norm(x, p + "input_layernorm")
            q = turned(split_heads(self.linear(h, p + "self_attn.q_proj"), heads)).transpose(0, 1)
            k = turned(split_heads(self.linear(h, p + "self_attn.k_proj"), kv_heads)).transpose(0, 1)
            v = split_heads(self.linear(h, p + "self_attn.v_proj"), kv_heads).transpose(0, 1)
            x = x + self.linear(by_segment(cu_seqlens, attend, q, k, v), p + "self_attn.o_proj")
            h = self.norm(x, p + "post_attention_layernorm")
            gate = F.silu(self.linear(h, p + "mlp.gate_proj"))
            x = x + self.linear(gate * self.linear(h, p + "mlp.up_proj"), p + "mlp.down_proj")
        head = self.w.get("lm_head.weight", self.w["model.embed_tokens.weight"])
        return self.norm(x, "model.norm") @ head.T


def compute(config, arrays, dump, dtype):
    """Logits, loss sum and gradients of scale x loss."""
    weights = {name: torch.tensor(array, dtype=dtype, requires_grad=True) for name, array in arrays.items()}
    model = (GPT2 if config["model_type"] == "gpt2" else Llama)(config, weights)
    integers = {n: torch.tensor(dump[n].astype(np.int64)) for n in ("token_ids", "position_ids", "targets")}
    logits = model.logits(integers["token_ids"], integers["position_ids"], dump["cu_seqlens"].tolist())
    loss = F.cross_entropy(logits, integers["targets"], ignore_index=-1, reduction="sum")
    (loss * torch.tensor(float(dump["scale"]), dtype=dtype)).backward()
    gradients = {name: tensor.grad.double().numpy() for name, tensor in weights.items()}
    return logits.detach().double().numpy(), float(loss), gradients


# ----------------------------------------------------------------- random models


def gpt2_model(rng, layers=3, width=96, heads=6, ffn=160, positions=512, vocabulary=300, tied=True, prefix=""):
    config = dict(model_type="gpt2", n_layer=layers, n_embd=width, n_head=heads, n_inner=ffn, n_positions=positions,
                  vocab_size=vocabulary, layer_norm_epsilon=1e-5, activation_function="gelu_new",
                  tie_word_embeddings=tied)
    shapes = {"wte.weight": (vocabulary, width), "wpe.weight": (positions, width)}
    for i in range(layers):
        p = f"h.{i}."
        for norm in ("ln_1", "ln_2"):
            shapes[p + norm + ".weight"] = shapes[p + norm + ".bias"] = (width,)
        for name, inputs, outputs in (("attn.c_attn", width, 3 * width), ("attn.c_proj", width, width),
                                      ("mlp.c_fc", width, ffn), ("mlp.c_proj", ffn, width)):
            shapes[p + name + ".weight"], shapes[p + name + ".bias"] = (inputs, outputs), (outputs,)
    shapes["ln_f.weight"] = shapes["ln_f.bias"] = (width,)
    shapes = {prefix + name: shape for name, shape in shapes.items()}
    if not tied:
        shapes["lm_head.weight"] = (vocabulary, width)
    return config, random_weights(rng, shapes)


def llama_model(rng, kind="llama", layers=3, width=96, heads=6, kv_heads=2, head_dim=None, ffn=160, positions=512,
                vocabulary=300, tied=False, rope_scaling=None, theta=10000.0, attention_bias=False, mlp_bias=False):
    config = dict(model_type=kind, num_hidden_layers=layers, hidden_size=width, num_attention_heads=heads,
                  num_key_value_heads=kv_heads, intermediate_size=ffn, max_position_embeddings=positions,
                  vocab_size=vocabulary, rms_norm_eps=1e-6, rope_theta=theta, hidden_act="silu",
                  tie_word_embeddings=tied)
    if rope_scaling:
        config["rope_scaling"] = rope_scaling
    if head_dim:
        config["head_dim"] = head_dim
    if kind == "llama":
        config.update(attention_bias=attention_bias, mlp_bias=mlp_bias)
    if kind == "mistral":
        config["sliding_window"] = None
    head_dim = head_dim or width // heads
    shapes = {"model.embed_tokens.weight": (vocabulary, width)}
    for i in range(layers):
        p = f"model.layers.{i}."
        shapes[p + "input_layernorm.weight"] = shapes[p + "post_attention_layernorm.weight"] = (width,)
        qkv_bias = kind == "qwen2" or attention_bias
        for name, inputs, outputs, bias in (
                ("self_attn.q_proj", width, heads * head_dim, qkv_bias),
                ("self_attn.k_proj", width, kv_heads * head_dim, qkv_bias),
                ("self_attn.v_proj", width, kv_heads * head_dim, qkv_bias),
                ("self_attn.o_proj", heads * head_dim, width, attention_bias),
                ("mlp.gate_proj", width, ffn, mlp_bias), ("mlp.up_proj", width, ffn, mlp_bias),
                ("mlp.down_proj", ffn, width, mlp_bias)):
            shapes[p + name + ".weight"] = (outputs, inputs)
            if bias:
                shapes[p + name + ".bias"] = (outputs,)
    shapes["model.norm.weight"] = (width,)
    if not tied:
        shapes["lm_head.weight"] = (vocabulary, width)
    return config, random_weights(rng, shapes)


def random_weights(rng, shapes):
    weights = {}
    for name, shape in shapes.items():
        is_gain = len(shape) == 1 and name.endswith("weight")
        weights[name] = (rng.normal(1.0 if is_gain else 0.0, 0.1, shape)).astype(np.float32)
    return weights


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
CASES = {
    "gpt2": lambda r: gpt2_model(r),
    "gpt2-untied": lambda r: gpt2_model(r, tied=False, prefix="transformer.", heads=4),
    "llama": lambda r: llama_model(r, kv_heads=6),
    "llama-gqa": lambda r: llama_model(r, theta=500000.0),
    "llama-head-dim": lambda r: llama_model(r, head_dim=32, tied=True),
    "llama3": lambda r: llama_model(r, rope_scaling=LLAMA3, theta=500000.0),
    "llama-linear": lambda r: llama_model(r, rope_scaling={"type": "linear", "factor": 2.0}),
    "llama-yarn": lambda r: llama_model(r, rope_scaling=YARN),
    "llama-biases": lambda r: llama_model(r, attention_bias=True, mlp_bias=True),
    "mistral": lambda r: llama_model(r, kind="mistral"),
    "qwen2": lambda r: llama_model(r, kind="qwen2", tied=True, theta=1000000.0),
}

# ----------------------------------------------------------------- comparing


def norm(x):
    return float(np.linalg.norm(np.asarray(x, dtype=np.float64).ravel()))


def parts_of(name, array):
    """GPT-2's fused bias in thirds, since its keys' part is special."""
    if name.endswith("attn.c_attn.bias"):
        return list(zip(("[q]", "[k]", "[v]"), np.split(array, 3)))
    return [("", array)]


def size_of(name, part, gradients):
    """What the error of a gradient is a share of: its own size, but where that is zero.

    Softmax does not see what all keys of a row have in common: without rotary positions the
    gradient of the keys' bias is exactly zero. Its error is a share of the whole bias's size.
    """
    if part == "[k]":
        return norm(gradients[name])
    return norm(dict(parts_of(name, gradients[name]))[part])


def judge(what, ours, exact, single, size, worst):
    error, theirs = norm(ours - exact) / size, norm(single - exact) / size
    ok = error <= max(FLOOR, FACTOR * theirs) and bool(np.isfinite(ours).all())
    worst.append((error, theirs, what))
    if not ok:
        print(f"  FAILED {what}: {error:.2e}, PyTorch float32 {theirs:.2e}")
    return ok


def compare(folder, dump):
    config = json.loads((folder / "config.json").read_text())
    arrays = read_safetensors(folder / "model.safetensors")
    prefix = "transformer." if config["model_type"] == "gpt2" else "model."
    if not any(name.startswith(prefix) for name in arrays):
        arrays = {prefix + n if n != "lm_head.weight" else n: a for n, a in arrays.items()}
    same = all(np.array_equal(dump["weight." + name], array) for name, array in arrays.items())
    if not same or sum(n.startswith("weight.") for n in dump) != len(arrays):
        print("  FAILED the weights are not those of the folder")
        return False
    exact, single = (compute(config, arrays, dump, dtype) for dtype in (torch.float64, torch.float32))
    ok, worst = True, []
    ok &= judge("logits", dump["logits"], exact[0], single[0], norm(exact[0]), worst)
    ok &= judge("loss", dump["loss_sum"], exact[1], single[1], exact[1], worst)
    for name, gradient in exact[2].items():
        for (part, e), (_, s), (_, o) in zip(parts_of(name, gradient), parts_of(name, single[2][name]),
                                             parts_of(name, dump["gradient." + name])):
            ok &= judge("gradient " + name + part, o, e, s, size_of(name, part, exact[2]), worst)
    error, theirs, what = max(worst)
    print(f"  {len(worst)} compared, worst {error:.2e} (PyTorch float32 {theirs:.2e}): {what}")
    return ok


def run(*arguments):
    result = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments))}\n{result.stdout}{result.stderr}")
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the built lockstep")
    parser.add_argument("cases", nargs="*", default=list(CASES), metavar="CASE")
    parser.add_argument("--seed", type=int, default=7, help="of the random models (7)")
    arguments = parser.parse_intermixed_args()
    program, names = pathlib.Path(arguments.program).resolve(), arguments.cases
    torch.set_num_threads(1)
    failed = []
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        rng = np.random.default_rng(20)
        words = ["plan", "rank", "token", "step", "pack", "ledger", "bits", "the", "of", "and", "once", "each"]
        lines = [" ".join(rng.choice(words, rng.integers(1, 60))) for _ in range(120)]
        (scratch / "texts.txt").write_text("\n".join(lines) + "\n")
        run(program, "ingest", "-d", scratch / "texts.txt", "-t", "bytes", "--document", "line", "-o",
            scratch / "corpus.h5")
        run(program, "batchplan", "build", "-l", scratch / "corpus.h5", "-b", "384", "--packs-per-step", "2", "-o",
            scratch / "plan")
        for name in names:
            print(name)
            config, weights = CASES[name](np.random.default_rng(arguments.seed))
            source, trained, folder = (scratch / f"{name}-{x}" for x in ("source", "run", "model"))
            source.mkdir()
            (source / "config.json").write_text(json.dumps(config))
            write_safetensors(source / "model.safetensors", weights)
            run(program, "train", "-p", scratch / "plan", "-d", scratch / "corpus.h5", "--init", source, "-o", trained,
                "--steps", "3", "--warmup", "0", "--quiet", "--threads", "1")
            run(program, "checkpoint", "export", "-r", trained, "--to", "safetensors", "-o", folder)
            # As read, before the first step; and as exported, after three.
            for step, pack, model in ((0, 1, source), (3, 6, folder)):
                dump = scratch / f"{name}-{step}.safetensors"
                run(program, "train", "-o", trained, "--step", step, "--pack", pack, "--dump", dump, "--threads", "1")
                if not compare(model, read_safetensors(dump)):
                    failed.append(f"{name} at step {step}")
    print("all agree" if not failed else "FAILED: " + ", ".join(failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
