"""Checks and times selection and attention kernels of this folder against PyTorch, on one GPU.

    python3 measure.py [select_02_larger_buffer] [attend_02_two_heads_a_warp]

Builds both with nvcc for sm_90a, compares them with float64 on sampled rows, then prints milliseconds (median of warm runs over rotated inputs) beside
cuDNN's dense causal attention of the same inputs in the same run. bf16, D 128, m 16, init 128, local 512, topK 16, 16/8 heads.
"""
import ctypes
import math
import pathlib
import statistics
import subprocess
import sys
import tempfile

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

DEVICE, D, BLOCK, INIT, LOCAL, TOP_K = 'cuda', 128, 16, 128, 512, 16
HERE = pathlib.Path(__file__).parent


def build(name):
    library = pathlib.Path(tempfile.mkdtemp()) / f'{name}.so'
    flags = ['-O3', '-std=c++17', '-gencode=arch=compute_90a,code=sm_90a', '-shared', '-Xcompiler', '-fPIC']
    subprocess.run(['nvcc', *flags, '-o', str(library), str(HERE / f'{name}.cu')], check=True)
    return ctypes.CDLL(str(library))


def pointer(tensor):
    return ctypes.c_void_p(tensor.data_ptr())


def stream():
    return ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)


def milliseconds(run, repeats=10, warm=3):
    for index in range(warm):
        run(index)
    times = []
    for index in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run(index)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def inputs(tokens, heads, kv_heads, kind, seed):
    """B: independent normal numbers. A: keys share a direction in each block and queries wander slowly, so that neighbours choose alike."""
    generator = torch.Generator(device=DEVICE).manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, device=DEVICE, generator=generator)
    if kind == 'B':
        q, k = normal(tokens, heads, D), normal(tokens, kv_heads, D)
    else:
        k = normal(tokens, kv_heads, D) * 0.8 + normal(tokens // 16 + 1, kv_heads, D).repeat_interleave(16, 0)[:tokens]
        anchors = normal(tokens // 64 + 2, kv_heads, D)
        position = torch.arange(tokens, device=DEVICE) / 64
        index = position.floor().long()
        share = (position - index)[:, None, None]
        smooth = anchors[index] * (1 - share) + anchors[index + 1] * share
        q = smooth.repeat_interleave(heads // kv_heads, 1) * 1.2 + normal(tokens, heads, D) * 0.35
    return q.bfloat16(), k.bfloat16(), normal(tokens, kv_heads, D).bfloat16()


def representatives(k):
    tokens, kv_heads, _ = k.shape
    means = k[: tokens // BLOCK * BLOCK].float().view(tokens // BLOCK, BLOCK, kv_heads, D).mean(1)
    return means.transpose(0, 1).contiguous().bfloat16()


def select(library, q, reps, out, softmax, init=INIT, local=LOCAL):
    (tokens, heads, _), (kv_heads, blocks, _) = q.shape, reps.shape
    code = library.lab_select(
        pointer(q), pointer(reps), pointer(out), tokens, heads, kv_heads, blocks, BLOCK, init // BLOCK, local // BLOCK, out.shape[2], int(softmax), stream()
    )
    assert code == 0, code


def attend(library, q, k, v, selected, buffers, parts, init=INIT, local=LOCAL):
    (tokens, heads, _), kv_heads = q.shape, k.shape[1]
    out, lse, list_block, list_mask, list_count = buffers
    arguments = [pointer(t) for t in (q, k, v, selected, out, lse, list_block, list_mask, list_count)]
    code = library.lab_attend(
        *arguments, tokens, heads, kv_heads, BLOCK, init // BLOCK, local // BLOCK, selected.shape[2], list_block.shape[2], parts, stream()
    )
    assert code == 0, code


def buffers_for(tokens, heads, kv_heads, top_k):
    tiles, capacity = (tokens + 63) // 64, min((tokens + 15) // 16, 64 * top_k + INIT // 16 + LOCAL // 16 + 5)
    empty = lambda *shape, dtype: torch.zeros(*shape, device=DEVICE, dtype=dtype)
    out = torch.full((tokens, heads, D), math.nan, device=DEVICE, dtype=torch.bfloat16)
    lse = torch.full((tokens, heads), math.nan, device=DEVICE)
    lists = [empty(kv_heads, tiles, capacity, dtype=torch.int32), empty(kv_heads, tiles, capacity, dtype=torch.int64)]
    return out, lse, *lists, empty(kv_heads, tiles, dtype=torch.int32)


def sampled_rows(tokens):
    edges = [torch.arange(0, min(tokens, 1500)), torch.randint(0, tokens, (300,)), torch.arange(tokens - 200, tokens)]
    return torch.cat(edges).unique().to(DEVICE)


def selection_errors(q, reps, out, softmax, init=INIT, local=LOCAL):
    """Rows of wrong form, and by how much of the largest score the worst chosen block falls short of the topK-th best (at most 0.02 is right)."""
    (tokens, heads, _), (kv_heads, blocks, _), top_k = q.shape, reps.shape, out.shape[2]
    group, rows, wrong, worst = heads // kv_heads, sampled_rows(tokens), 0, 0.0
    t, b = torch.arange(blocks, device=DEVICE), rows // BLOCK
    complete = ((t + 1) * BLOCK - 1)[None] <= rows[:, None]
    candidate = complete & (t[None] >= init // BLOCK) & (t[None] <= (b - local // BLOCK)[:, None])
    count = candidate.sum(1).clamp(max=top_k)
    for g in range(kv_heads):
        scores = torch.einsum('nhd,td->nht', q[rows, g * group : (g + 1) * group].double(), reps[g].double()) / math.sqrt(D)
        if softmax:
            scores = torch.softmax(scores.masked_fill(~complete[:, None], -math.inf), -1).nan_to_num(0)
        total = scores.sum(1)
        chosen = out[g, rows].long()
        valid, safe = chosen >= 0, chosen.clamp(0, blocks - 1)
        ascending = ((chosen[:, 1:] > chosen[:, :-1]) | ~valid[:, 1:]).all(1)
        wrong += int(((valid.sum(1) != count) | ~ascending | (~candidate.gather(1, safe) & valid).any(1)).sum())
        last = torch.topk(total.masked_fill(~candidate, -math.inf), top_k, 1).values.gather(1, (count - 1).clamp(min=0)[:, None])
        largest = total.masked_fill(~candidate, 0).abs().amax(1).clamp(min=1e-30)
        short = ((last - total.gather(1, safe)) / largest[:, None]).masked_fill(~valid, 0)
        worst = max(worst, short.max().item())
    return wrong, worst


def attention_errors(q, k, v, selected, out, lse, init=INIT, local=LOCAL):
    """Relative Frobenius error of out and largest error of lse."""
    (tokens, heads, _), kv_heads = q.shape, k.shape[1]
    group, rows, j, last = heads // kv_heads, sampled_rows(tokens)[::4], torch.arange(tokens, device=DEVICE), tokens // BLOCK
    t, error, norm, worst = j // BLOCK, 0.0, 0.0, 0.0
    for g in range(kv_heads):
        chosen = selected[g, rows].long()
        picked = torch.zeros(len(rows), last + 1, dtype=torch.bool, device=DEVICE).scatter_(1, torch.where(chosen >= 0, chosen, last), True)
        forced = (t[None] < init // BLOCK) | (t[None] > (rows // BLOCK - local // BLOCK)[:, None])
        visible = (forced | (picked[:, :last + 1].gather(1, t[None].expand(len(rows), -1)) & (t[None] < last))) & (j[None] <= rows[:, None])
        for h in range(g * group, (g + 1) * group):
            scores = ((q[rows, h].double() @ k[:, g].double().T) / math.sqrt(D)).masked_fill(~visible, -math.inf)
            expected = torch.softmax(scores, 1) @ v[:, g].double()
            error += (out[rows, h].double() - expected).pow(2).sum().item()
            norm += expected.pow(2).sum().item()
            worst = max(worst, (lse[rows, h].double() - torch.logsumexp(scores, 1)).abs().max().item())
    return math.sqrt(error / norm), worst


def check(selecting, attending):
    for tokens, heads, kv_heads, init, local, top_k in [(1000, 4, 2, 16, 128, 2), (4096, 16, 8, 128, 512, 16), (4133, 8, 4, 0, 64, 16)]:
        for kind in 'AB':
            q, k, v = inputs(tokens, heads, kv_heads, kind, 1)
            reps = representatives(k)
            out = torch.full((kv_heads, tokens, top_k), -7, dtype=torch.int32, device=DEVICE)
            for softmax in (True, False):
                select(selecting, q, reps, out, softmax, init, local)
                wrong, worst = selection_errors(q, reps, out, softmax, init, local)
                assert wrong == 0 and worst <= 0.02, (tokens, kind, softmax, wrong, worst)
            buffers = buffers_for(tokens, heads, kv_heads, top_k)
            attend(attending, q, k, v, out, buffers, 3, init, local)
            relative, log_error = attention_errors(q, k, v, out, buffers[0], buffers[1], init, local)
            assert relative <= 1e-2 and log_error <= 1e-4, (tokens, kind, relative, log_error)
    print('all within bounds')


def measure(selecting, attending, tokens, heads=16, kv_heads=8):
    for kind in 'AB':
        sets = [inputs(tokens, heads, kv_heads, kind, seed) for seed in range(2)]
        reps = [representatives(k) for _, k, _ in sets]
        outs = [torch.empty(kv_heads, tokens, TOP_K, dtype=torch.int32, device=DEVICE) for _ in sets]

        def dense(index):
            q, k, v = (x.transpose(0, 1)[None] for x in sets[index % 2])
            with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
                F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

        row = {'tokens': tokens, 'data': kind, 'cudnn dense': milliseconds(dense, 5)}
        for softmax in (False, True):
            name = 'select softmax' if softmax else 'select logit'
            row[name] = milliseconds(lambda index: select(selecting, sets[index % 2][0], reps[index % 2], outs[index % 2], softmax))
        before, after = outs[0][:, -2049:-1].long(), outs[0][:, -2048:].long()
        row['overlap of neighbours'] = (before[:, :, :, None] == after[:, :, None, :]).any(-1).float().mean().item()
        buffers = buffers_for(tokens, heads, kv_heads, TOP_K)
        row['union'] = milliseconds(lambda index: attend(attending, *sets[index % 2], outs[index % 2], buffers, 1))
        attend(attending, *sets[0], outs[0], buffers, 1)
        row['blocks a tile'] = buffers[4].float().mean().item()
        row['attend'] = milliseconds(lambda index: attend(attending, *sets[index % 2], outs[index % 2], buffers, 2))
        print({name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}, flush=True)


def main():
    names = sys.argv[1:] or ['select_02_larger_buffer', 'attend_02_two_heads_a_warp']
    selecting, attending = (build(name) for name in names)
    print(torch.cuda.get_device_name(), 'PyTorch', torch.__version__, *names)
    check(selecting, attending)
    for tokens in (32768, 131072):
        measure(selecting, attending, tokens)


main()
