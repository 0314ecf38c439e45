"""Block-sparse attention in Triton as public sparse-attention kernels do it: one program a query and KV head, its group's heads as the rows of the matrix
products, selected blocks gathered one after the other. Forward only, simple on purpose: a peer, and a second opinion on what ours computes."""

import math

import torch
import triton
import triton.language as tl

# The fewest rows that a matrix product of Triton takes; a smaller group of heads is padded.
ROWS = 16


@triton.jit
def _attend_keys(q, k, v, keys, seen, largest, total, out, width, scale: tl.constexpr, D: tl.constexpr):
    d = tl.arange(0, D)
    offsets = keys.to(tl.int64)[:, None] * width + d[None, :]
    key = tl.load(k + offsets, mask=seen[:, None], other=0.0)
    value = tl.load(v + offsets, mask=seen[:, None], other=0.0)
    # In units of log 2, because exp2 is what the hardware has.
    scores = tl.where(seen[None, :], tl.dot(q, tl.trans(key)) * scale, float('-inf'))
    larger = tl.maximum(largest, tl.max(scores, 1))
    share = tl.exp2(scores - larger[:, None])
    kept = tl.exp2(largest - larger)
    out = out * kept[:, None] + tl.dot(share.to(value.dtype), value)
    return larger, total * kept + tl.sum(share, 1), out


@triton.jit
def _forward(
    q, k, v, selected, out, lse, length, scale: tl.constexpr, HEADS: tl.constexpr, KV_HEADS: tl.constexpr, D: tl.constexpr, M: tl.constexpr,
    INIT: tl.constexpr, LOCAL: tl.constexpr, TOP_K: tl.constexpr, TILE: tl.constexpr, ROWS: tl.constexpr,
):
    position, kv_head = tl.program_id(0), tl.program_id(1)
    GROUP: tl.constexpr = HEADS // KV_HEADS
    row, d = tl.arange(0, ROWS), tl.arange(0, D)
    head_rows = position.to(tl.int64) * HEADS + kv_head * GROUP + row
    queries = tl.load(q + head_rows[:, None] * D + d[None, :], mask=row[:, None] < GROUP, other=0.0)
    largest = tl.full([ROWS], float('-inf'), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    sums = tl.zeros([ROWS, D], tl.float32)
    keys, values, width = k + kv_head * D, v + kv_head * D, KV_HEADS * D
    window = tl.maximum(position // M - LOCAL // M + 1, 0) * M
    tile = tl.arange(0, TILE)
    # The local window first: it holds the query's own key, so the largest score is finite from the start.
    for start in range(window, position + 1, TILE):
        at = start + tile
        largest, total, sums = _attend_keys(queries, keys, values, at, at <= position, largest, total, sums, width, scale, D)
    first = tl.minimum(window, INIT)
    for start in range(0, first, TILE):
        at = start + tile
        largest, total, sums = _attend_keys(queries, keys, values, at, at < first, largest, total, sums, width, scale, D)
    token = tl.arange(0, M)
    for index in range(TOP_K):
        block = tl.load(selected + (kv_head.to(tl.int64) * length + position) * TOP_K + index)
        if block >= 0:
            at = block * M + token
            largest, total, sums = _attend_keys(queries, keys, values, at, at <= position, largest, total, sums, width, scale, D)
    result = sums / total[:, None]
    tl.store(out + head_rows[:, None] * D + d[None, :], result.to(out.dtype.element_ty), mask=row[:, None] < GROUP)
    tl.store(lse + head_rows, (largest + tl.log2(total)) * 0.6931471805599453, mask=row < GROUP)


def attend(q, k, v, selected, shape):
    """q [T, Hq, D], k and v [T, Hkv, D], selected i32 [Hkv, T, topK] -> out [T, Hq, D], lse f32 [T, Hq]."""
    length, heads, d = q.shape
    kv_heads, out = k.shape[1], torch.empty_like(q)
    lse = torch.empty(length, heads, device=q.device)
    scale = 1 / math.sqrt(d) / math.log(2)
    _forward[(length, kv_heads)](
        q, k, v, selected, out, lse, length, scale, heads, kv_heads, d, shape.m, shape.init, shape.local, shape.top_k, 64, ROWS, num_warps=2
    )
    return out, lse


def select(q, k, shape, chunk=2048):
    """The topK blocks by logit score, i32 [Hkv, T, topK], ascending, then -1. Not timed, so it is not fast."""
    (length, heads, d), (_, kv_heads, _) = q.shape, k.shape
    blocks, group = length // shape.m, heads // kv_heads
    means = k[: blocks * shape.m].float().view(blocks, shape.m, kv_heads, d).mean(1).bfloat16()
    selected = torch.full((kv_heads, length, shape.top_k), -1, dtype=torch.int32, device=q.device)
    if blocks == 0 or shape.top_k == 0:
        return selected
    t = torch.arange(blocks, device=q.device)[None]
    summed = q.float().view(length, kv_heads, group, d).sum(2).bfloat16()
    for kv_head in range(kv_heads):
        for start in range(0, length, chunk):
            rows = torch.arange(start, min(length, start + chunk), device=q.device)
            scores = (summed[rows, kv_head] @ means[:, kv_head].T).float()
            candidate = (t >= shape.init // shape.m) & (t <= (rows // shape.m - shape.local // shape.m)[:, None])
            best = scores.masked_fill(~candidate, -math.inf).topk(min(shape.top_k, blocks), 1)
            chosen = torch.where(best.values == -math.inf, blocks, best.indices).sort(1).values
            selected[kv_head, rows, : chosen.shape[1]] = torch.where(chosen == blocks, -1, chosen).int()
    return selected


def visible(rows, chosen, shape):
    """bool [rows, T] from the choices i32 [rows, topK] of one KV head."""
    token = torch.arange(shape.length, device=rows.device)
    block, own = token // shape.m, rows // shape.m
    last = (shape.length - 1) // shape.m + 1
    picked = torch.zeros(len(rows), last + 1, dtype=torch.bool, device=rows.device)
    picked.scatter_(1, torch.where(chosen >= 0, chosen, last).long(), True)
    forced = (block[None] < shape.init // shape.m) | (block[None] > (own - shape.local // shape.m)[:, None])
    return (forced | picked[:, block]) & (token[None] <= rows[:, None])
