"""Times what one would use instead of @phsa/kernels-cuda on the same GPU: PyTorch's dense attention (cuDNN, flash), FlexAttention and a Triton sparse kernel.

    python3 attention.py --out peers.json [--seconds 150] [--flex] [--only cudnn,flash,triton] [--curves] [--small]

bf16, batch 1, head dimension 128, causal. Milliseconds by CUDA events, median of warm runs over two input sets that take turns. The result file is written after
each row, the most important rows first; a row that is not measured holds the reason. The sparse kernel is compared with float64 before it is timed, and so are
FlexAttention's and the dense kernels' outputs on sampled rows. Nothing of ours is needed to run it: PyTorch 2.5 or later, Triton for the sparse kernel.
"""

import argparse
import json
import math
import os
import signal
import statistics
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

DEVICE, D = 'cuda', 128
# A run longer than this is not repeated, and no row gets more than this in all.
SECONDS_A_ROW = 20
# FlexAttention's block mask: its backward pass takes no narrower key blocks than these at head dimension 128.
FLEX_QUERIES, FLEX_KEYS = 128, 128
# Of dense attention: softmax(q k) v in bf16 against float64, as the conformance suite bounds it.
TOLERANCE = 1e-2


class Refused(Exception):
    """Why a row has no figure."""


@dataclass(frozen=True)
class Shape:
    """Sizes as in spec.md: m tokens a block, init and local tokens always visible, top_k blocks chosen."""

    heads: int
    kv_heads: int
    length: int
    m: int = 16
    init: int = 128
    local: int = 512
    top_k: int = 16

    def json(self):
        names = {'kv_heads': 'kvHeads', 'm': 'blockSize', 'init': 'initTokens', 'local': 'localTokens', 'top_k': 'topK'}
        return {names.get(name, name): value for name, value in vars(self).items()}


SHAPES = [
    Shape(16, 8, 32768),
    Shape(16, 8, 131072),
    Shape(32, 8, 32768),
    Shape(32, 8, 131072),
    Shape(32, 2, 32768, m=64, init=64, local=512, top_k=55),
    Shape(16, 8, 8192, top_k=2),
]
SMALL_SHAPES = [Shape(16, 8, 2048, top_k=4), Shape(32, 2, 2048, m=64, init=64, local=256, top_k=8)]


def inputs(shape, kind, seed):
    """q [T, Hq, D], k and v [T, Hkv, D]. B: independent normal numbers. A: see benchmarks/README.md; keys share a direction in each block, queries wander."""
    generator = torch.Generator(device=DEVICE).manual_seed(seed)
    normal = lambda *extents: torch.randn(*extents, device=DEVICE, generator=generator)
    length, group = shape.length, shape.heads // shape.kv_heads
    q, k = normal(length, shape.heads, D), normal(length, shape.kv_heads, D)
    if kind == 'A':
        k = k * 0.8 + normal(length // shape.m + 1, shape.kv_heads, D).repeat_interleave(shape.m, 0)[:length]
        anchors, position = normal(length // 64 + 2, shape.kv_heads, D), torch.arange(length, device=DEVICE) / 64
        index = position.floor().long()
        share = (position - index)[:, None, None]
        wandering = anchors[index] * (1 - share) + anchors[index + 1] * share
        q = q * 0.9 * math.sqrt(group / 2) + wandering.repeat_interleave(group, 1) * 1.2
    return q.bfloat16(), k.bfloat16(), normal(length, shape.kv_heads, D).bfloat16()


def samples_of(run, deadline):
    """Milliseconds of warm runs; run(index) takes its inputs by index. Fewer runs for what is slow, 10 otherwise."""
    run(0)
    torch.cuda.synchronize()
    started = time.monotonic()
    run(1)
    torch.cuda.synchronize()
    once = time.monotonic() - started
    if once > SECONDS_A_ROW:
        raise Refused(f'one run takes {once:.1f} s, more than {SECONDS_A_ROW} s')
    if time.monotonic() + 5 * once > deadline:
        raise Refused('the time for this program was over')
    repeats = 10 if once < 0.15 else 5 if once < 1 else 3
    pairs = []
    for index in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run(index)
        end.record()
        pairs.append((start, end))
    torch.cuda.synchronize()
    return [start.elapsed_time(end) for start, end in pairs]


def check_rows(name, shape, q, k, v, out, visible):
    """Compares rows of out [T, Hq, D] with float64. visible(rows, kv_head) is bool [rows, T]."""
    rows = torch.cat([torch.arange(min(shape.length, 40)), torch.arange(shape.length // 2, shape.length, max(1, shape.length // 80))]).to(DEVICE)
    group, error, norm = shape.heads // shape.kv_heads, 0.0, 0.0
    for kv_head in range(shape.kv_heads):
        hidden = ~visible(rows, kv_head)
        for head in range(kv_head * group, (kv_head + 1) * group):
            scores = (q[rows, head].double() @ k[:, kv_head].double().T / math.sqrt(D)).masked_fill(hidden, -math.inf)
            expected = torch.softmax(scores, 1) @ v[:, kv_head].double()
            error += (out[rows, head].double() - expected).pow(2).sum().item()
            norm += expected.pow(2).sum().item()
    relative = math.sqrt(error / norm)
    if not relative <= TOLERANCE:
        raise Refused(f'{name} is wrong: relative error {relative:.1e} on sampled rows, allowed {TOLERANCE:.0e}')
    return relative


def causal(rows, length):
    return torch.arange(length, device=DEVICE)[None] <= rows[:, None]


def attention_passes(attend, sets):
    """Runs of the forward pass and of both passes. attend takes q [1, Hq, T, D], k and v [1, Hkv, T, D]."""
    batched = [[x.transpose(0, 1)[None].contiguous() for x in one] for one in sets]
    trained = [[x.clone().requires_grad_() for x in one] for one in batched]
    gradients = [torch.randn_like(one[0]) for one in batched]

    def forward(index):
        with torch.no_grad():
            return attend(*batched[index % 2])

    def both(index):
        one = trained[index % 2]
        return torch.autograd.grad(attend(*one), one, gradients[index % 2])

    return {'forward': forward, 'forward + backward': both}


def dense(backend, name):
    def measure(shape, passes, deadline):
        sets = [inputs(shape, 'B', seed) for seed in (1, 2)]

        def attend(q, k, v):
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

        runs = attention_passes(attend, sets)
        error = check_rows(name, shape, *sets[0], runs['forward'](0)[0].transpose(0, 1), lambda rows, _: causal(rows, shape.length))
        return {'data': 'B', 'relativeError': error, 'samples': samples_of(runs[passes], deadline)}

    return measure


def triton_sparse(kind):
    """The selection is not timed: it is what the kernel is given."""

    def measure(shape, passes, deadline):
        if passes != 'forward':
            raise Refused('the Triton kernel has no backward pass')
        import sparse_attention  # needs Triton, which the other peers do without

        sets = [inputs(shape, kind, seed) for seed in (1, 2)]
        selected = [sparse_attention.select(q, k, shape) for q, k, _ in sets]
        out, _ = sparse_attention.attend(*sets[0], selected[0], shape)
        visible = lambda rows, kv_head: sparse_attention.visible(rows, selected[0][kv_head, rows], shape)
        error = check_rows('the Triton kernel', shape, *sets[0], out, visible)
        run = lambda index: sparse_attention.attend(*sets[index % 2], selected[index % 2], shape)
        return {'data': kind, 'relativeError': error, 'samples': samples_of(run, deadline)}

    return measure


def flex_block_mask(shape):
    """The same number of visible tokens, chosen once for 128 queries: first and local key blocks, then others drawn at random."""
    from torch.nn.attention.flex_attention import BlockMask

    queries, keys = shape.length // FLEX_QUERIES, shape.length // FLEX_KEYS
    budget = (shape.init + shape.local + shape.top_k * shape.m) // FLEX_KEYS
    own = FLEX_QUERIES // FLEX_KEYS
    generator = torch.Generator(device=DEVICE).manual_seed(3)
    row = torch.arange(queries, device=DEVICE)[:, None]
    column = torch.arange(keys, device=DEVICE)[None]
    rank = torch.rand(shape.kv_heads, queries, keys, device=DEVICE, generator=generator)
    rank = rank + 2.0 * ((column < shape.init // FLEX_KEYS) | (column >= (row + 1) * own - shape.local // FLEX_KEYS))
    rank = rank.masked_fill(column >= row * own, -1)
    chosen = rank.topk(min(budget - own, keys), -1)
    taken = (chosen.values >= 0).sum(-1, dtype=torch.int32)
    full = torch.zeros(shape.kv_heads, queries, keys, dtype=torch.int32, device=DEVICE)
    full[..., : chosen.indices.shape[-1]] = chosen.indices.int()
    # The blocks of the queries themselves are the only ones that need the causal mask.
    partial = torch.zeros_like(full)
    partial[..., :own] = row * own + torch.arange(own, device=DEVICE, dtype=torch.int32)
    spread = lambda x: x.repeat_interleave(shape.heads // shape.kv_heads, 0)[None]
    return BlockMask.from_kv_blocks(
        spread(torch.full_like(taken, own)),
        spread(partial),
        spread(taken),
        spread(full),
        BLOCK_SIZE=(FLEX_QUERIES, FLEX_KEYS),
        mask_mod=lambda _b, _h, q_index, k_index: q_index >= k_index,
    )


def flex(shape, passes, deadline):
    from torch.nn.attention.flex_attention import flex_attention

    block_mask = flex_block_mask(shape)
    compiled = torch.compile(flex_attention, dynamic=False)
    sets = [inputs(shape, 'B', seed) for seed in (1, 2)]
    runs = attention_passes(lambda q, k, v: compiled(q, k, v, block_mask=block_mask, enable_gqa=True), sets)
    seen = block_mask.to_dense()[0]

    def visible(rows, kv_head):
        blocks = seen[kv_head * (shape.heads // shape.kv_heads), rows // FLEX_QUERIES].bool()
        return blocks.repeat_interleave(FLEX_KEYS, 1) & causal(rows, shape.length)

    error = check_rows('FlexAttention', shape, *sets[0], runs['forward'](0)[0].transpose(0, 1), visible)
    return {'data': 'B', 'relativeError': error, 'samples': samples_of(runs[passes], deadline)}


PEERS = {
    'cudnn': ('cuDNN, dense', dense(SDPBackend.CUDNN_ATTENTION, 'cuDNN')),
    'flash': ('FlashAttention 2, dense', dense(SDPBackend.FLASH_ATTENTION, 'flash')),
    'triton': ('Triton, block-sparse, selection given', triton_sparse('A')),
    'triton-b': ('Triton, block-sparse, selection given', triton_sparse('B')),
    'flex': ('FlexAttention, 128-token query blocks', flex),
}


# Dense attention beside the cost of ours over the length. A million tokens take it 9 s a run.
CURVE_LENGTHS = [4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288]
SMALL_CURVE_LENGTHS = [1024, 2048]


def plan_curves(small):
    return [('cudnn', Shape(16, 8, length), 'forward') for length in (SMALL_CURVE_LENGTHS if small else CURVE_LENGTHS)]


def plan(only, small):
    """(peer, shape, passes) by importance: what the bars are made of first, what takes long to compile last."""
    shapes = SMALL_SHAPES if small else SHAPES
    rows = [('cudnn', shape, 'forward') for shape in shapes] + [('cudnn', shape, 'forward + backward') for shape in shapes]
    if not small:
        rows += [('cudnn', Shape(16, 8, length), 'forward') for length in CURVE_LENGTHS if length not in (32768, 131072, 524288)]
    rows += [(peer, shape, 'forward') for peer in ('triton', 'triton-b') for shape in shapes]
    rows += [('flash', shape, passes) for passes in ('forward', 'forward + backward') for shape in shapes]
    rows += [('flex', shape, passes) for shape in sorted(shapes, key=lambda one: one.kv_heads)[:1] + shapes[:1] for passes in ('forward', 'forward + backward')]
    return [row for row in rows if row[0] in only]


def stop_after(seconds):
    def stop(_signal, _frame):
        raise Refused(f'not done after {seconds:.0f} s')

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def measure(peer, shape, passes, deadline):
    name, run = PEERS[peer]
    row = {'peer': peer, 'name': name, 'shape': shape.json(), 'passes': passes}
    left = deadline - time.monotonic()
    if left <= 0:
        return {**row, 'skipped': 'the time for this program was over'}
    try:
        # FlexAttention is compiled for each shape, which takes longer than to run it.
        stop_after(min(left, SECONDS_A_ROW * (3 if peer == 'flex' else 1)))
        result = run(shape, passes, deadline)
        samples = result['samples']
        middle = statistics.median(samples)
        deviation = statistics.median(abs(sample - middle) for sample in samples)
        return {**row, **result, 'milliseconds': middle, 'deviation': deviation}
    except Exception as error:  # a peer that fails is a row with its reason, and the next one is measured
        reason = str(error).strip().splitlines() or ['']
        return {**row, 'skipped': reason[0] if isinstance(error, Refused) else f'{type(error).__name__}: {reason[0]}'[:300]}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        torch.cuda.empty_cache()


def rates():
    """What this GPU attains, as floors are counted with: FLOP/s of a bf16 matrix product, bytes/s of a copy within its memory (read and written)."""
    a, b = (torch.randn(8192, 8192, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    source = torch.empty(2**31, dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    far = time.monotonic() + SECONDS_A_ROW
    product = statistics.median(samples_of(lambda _index: a @ b, far))
    copy = statistics.median(samples_of(lambda _index: target.copy_(source), far))
    return {'matrixFlops': 2 * 8192**3 / product * 1e3, 'copyBytes': 2 * 2**31 / copy * 1e3}


def versions():
    try:
        import triton

        triton_version = triton.__version__
    except ImportError as error:
        triton_version = f'not there: {error}'
    return {'torch': torch.__version__, 'cuda': torch.version.cuda, 'cudnn': torch.backends.cudnn.version(), 'triton': triton_version}


def write(path, report):
    with open(f'{path}.part', 'w') as file:
        json.dump(report, file, indent=2)
    os.replace(f'{path}.part', path)


def main():
    parser = argparse.ArgumentParser(description='Times PyTorch and Triton attention on this GPU.')
    parser.add_argument('--out', required=True, help='result file')
    parser.add_argument('--seconds', type=float, default=150, help='no new row is started after this')
    parser.add_argument('--only', default='cudnn,flash,triton,triton-b', help=f'some of {", ".join(PEERS)}')
    parser.add_argument('--flex', action='store_true', help='FlexAttention too, which torch.compile takes long to compile')
    parser.add_argument('--curves', action='store_true', help='only dense cuDNN attention at the lengths of the curve, forward')
    parser.add_argument('--small', action='store_true', help='short sequences, to see that everything works')
    options = parser.parse_args()
    deadline = time.monotonic() + options.seconds
    report = {
        'format': 'phsa-peers/1',
        'createdAt': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
        'device': torch.cuda.get_device_name(),
        'versions': versions(),
        'rates': rates(),
        'rows': [],
    }
    wanted = options.only.split(',') + (['flex'] if options.flex else [])
    for row in plan_curves(options.small) if options.curves else plan(wanted, options.small):
        measured = measure(*row, deadline)
        report['rows'].append(measured)
        write(options.out, report)
        figure = f'{measured["milliseconds"]:.3f} ms' if 'milliseconds' in measured else measured['skipped']
        print(f'{row[0]} {row[1].heads}/{row[1].kv_heads} L {row[1].length} {row[2]}: {figure}', flush=True)


if __name__ == '__main__':
    main()
