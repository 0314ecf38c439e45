"""Times what a server does, in plain PyTorch on this GPU: beside `bench-serve`, whose factors count the fastest of these ways.

    python3 serve.py --out peers.json [--seconds 150] [--only 1024x1,32768x8] [--small]

The model of `model.py`: bf16, random weights, dense attention. No `transformers`: the same mathematics without its modules, and no server around it. A step of
decoding takes one token a sequence through all layers over a static key/value cache, and chooses the likeliest next ones on the GPU, where the next step reads them. It
is one CUDA graph that is replayed without waiting for the host, at one position: attention reads exactly the keys that are there, without a mask. So nothing that
a server has to do besides is in it. Its parts between the attentions are compiled (torch.compile) or not; attention is flash, cuDNN, or two batched products.
The first token is a prompt's pass with its keys and values written into the cache, until its token is on the host. The result file is written after each way.
"""

import argparse
import math
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from model import DEVICE, DTYPE, Model, Shape, figures_of, new_report, skipped, write
from train import after_attention, before_attention, compile_budget, rms

STEPS, WARM_UP = 64, 8


def choose(x, norm, head):
    return F.linear(rms(x, norm), head).argmax(-1)


def attend_once(q, keys, values, kind):
    """q [B, H, D] over keys and values [B, G, T, D]. Gives [B, H * D]."""
    if kind == 'products':
        grouped = q.unflatten(1, (keys.shape[1], -1))
        scores = torch.matmul(grouped, keys.transpose(-1, -2)) * q.shape[-1] ** -0.5
        return torch.matmul(scores.softmax(-1, dtype=torch.float32).to(q.dtype), values).flatten(1)
    backend = {'flash': SDPBackend.FLASH_ATTENTION, 'cudnn': SDPBackend.CUDNN_ATTENTION}[kind]
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(q[:, :, None], keys, values, enable_gqa=True).flatten(1)


class Server(Model):
    def take(self, compiled):
        torch._dynamo.reset()
        wrap = (lambda run: torch.compile(run, dynamic=False)) if compiled else (lambda run: run)
        self.before, self.after, self.choose = wrap(before_attention), wrap(after_attention), wrap(choose)

    def prefill(self, ids, caches):
        """The token after a prompt [T]; its keys and values are in the caches [1, G, T, D]."""
        x, length = F.embedding(ids, self.embedding), len(ids)
        cos, sin = self.cos[:length], self.sin[:length]
        batched = lambda heads: heads.transpose(0, 1)[None]
        for layer, (keys, values) in zip(self.layers, caches):
            q, k, v = self.before(x, cos, sin, layer)
            keys.copy_(batched(k))
            values.copy_(batched(v))
            with sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION], set_priority=True):
                out = F.scaled_dot_product_attention(batched(q), keys, values, is_causal=True, enable_gqa=True)
            x = self.after(x, out[0].transpose(0, 1).flatten(1), layer)
        return self.choose(x[-1:], self.norm, self.embedding)

    def step(self, ids, caches, position, kind):
        """Tokens [B] at a position, whose keys and values go into the caches [B, G, position + 1, D]; ids become the next ones."""
        x = F.embedding(ids, self.embedding)
        cos, sin = self.cos[position], self.sin[position]
        for layer, (keys, values) in zip(self.layers, caches):
            q, k, v = self.before(x, cos, sin, layer)
            keys[:, :, position] = k
            values[:, :, position] = v
            x = self.after(x, attend_once(q, keys, values, kind), layer)
        ids.copy_(self.choose(x, self.norm, self.embedding))


def new_caches(shape, batch, length):
    one = lambda: torch.empty(batch, shape.kv_heads, length, shape.head_dim, device=DEVICE, dtype=DTYPE).normal_()
    return [(one(), one()) for _ in range(shape.layers)]


def first_token(model, length, deadline):
    """Milliseconds of prompts one after the other, each until its token is on the host."""
    caches = new_caches(model.shape, 1, length)
    generator = torch.Generator(device=DEVICE).manual_seed(length)

    def once():
        ids = torch.randint(model.shape.vocabulary, (length,), device=DEVICE, generator=generator)
        torch.cuda.synchronize()
        started = time.monotonic()
        model.prefill(ids, caches).item()
        return (time.monotonic() - started) * 1e3

    # The first one compiles.
    first = once()
    if time.monotonic() + first / 1e3 > deadline:
        raise TimeoutError('the time for this program was over before a prompt that compiles nothing')
    second = once()
    samples = [second] + [once() for _ in range(0 if second > 2000 or time.monotonic() + second / 250 > deadline else 4)]
    return figures_of(samples)


def check_kind(model, batch, kind, caches, position):
    """One layer's attention next to float32."""
    q = torch.randn(batch, model.shape.heads, model.shape.head_dim, device=DEVICE).to(DTYPE)
    keys, values = (cache[:, :, : min(4096, position + 1)] for cache in caches[0])
    exact = attend_once(q.float(), keys.float(), values.float(), 'products')
    error = (attend_once(q, keys, values, kind).float() - exact).norm() / exact.norm()
    if not error < 0.02:
        raise ArithmeticError(f'the attention is off by {error:.3f}')


def decode(model, length, batch, kind, caches):
    """Milliseconds of a replay, by the GPU's clock, all replays queued at once."""
    ids = torch.arange(batch, device=DEVICE)
    check_kind(model, batch, kind, caches, length)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(2):
            model.step(ids, caches, length, kind)
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        model.step(ids, caches, length, kind)
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(STEPS + 1)]
    for _ in range(WARM_UP):
        graph.replay()
    marks[0].record()
    for mark in marks[1:]:
        graph.replay()
        mark.record()
    torch.cuda.synchronize()
    if not bool(((ids >= 0) & (ids < model.shape.vocabulary)).all()):
        raise ArithmeticError('the tokens are none of the vocabulary')
    return figures_of([start.elapsed_time(end) for start, end in zip(marks, marks[1:])])


def main():
    parser = argparse.ArgumentParser(description='Times prompts and steps of decoding of the Qwen3-0.6B shape in PyTorch on this GPU.')
    parser.add_argument('--out', required=True, help='result file')
    parser.add_argument('--seconds', type=float, default=150, help='no new way is started after this')
    parser.add_argument('--way-seconds', type=float, default=60, help='a way may take this long')
    parser.add_argument('--only', help='some rows, such as 1024x1,32768x8')
    parser.add_argument('--small', action='store_true', help='two layers and short prompts, to see that everything works')
    options = parser.parse_args()
    deadline = time.monotonic() + options.seconds
    shape = Shape(vocabulary=8192, layers=2) if options.small else Shape()
    contexts = {256: [1, 3]} if options.small else {1024: [1, 8, 64], 32768: [1, 8, 16], 131072: [1, 4]}
    rows = [(length, batch) for length, batches in contexts.items() for batch in batches]
    wanted = [row for row in rows if options.only is None or f'{row[0]}x{row[1]}' in options.only.split(',')]
    report = new_report('phsa-serve-peers')
    model = Server(shape, max(contexts) + 1)
    # One compilation for each number of rows.
    torch._dynamo.config.recompile_limit = 64

    def way(row, measure):
        started = time.monotonic()
        try:
            if started > deadline:
                raise TimeoutError('the time for this program was over')
            compile_budget(max(1, min(options.way_seconds, deadline + 30 - started)))
            with torch.no_grad():
                figures = measure()
            if not math.isfinite(figures['milliseconds']):
                raise ArithmeticError('no time was taken')
            row = {**row, **figures}
        except Exception as error:
            row = {**row, **skipped(error)}
        finally:
            compile_budget(0)
        report['rows'].append(row)
        write(options.out, report)
        told = f'{row["milliseconds"]:.3f} ms' if 'milliseconds' in row else row['skipped']
        name = f'{row["what"]} {row["context"]} x {row["batch"]} {row["attention"]}{" compiled" if row["compiled"] else ""}'
        print(f'PyTorch {name}: {told}; {time.monotonic() - started:.0f} s', flush=True)

    # Compiled parts first: they are the fastest. Batches of one size share what was compiled for it.
    for compiled in (True, False):
        model.take(compiled)
        for length, batch in sorted(wanted, key=lambda row: row[1]):
            try:
                caches = new_caches(shape, batch, length + 1)
            except torch.OutOfMemoryError as error:
                report['rows'].append({'what': 'step', 'context': length, 'batch': batch, 'attention': 'all', 'compiled': compiled, **skipped(error)})
                continue
            for kind in ('flash', 'cudnn', 'products'):
                row = {'what': 'step', 'context': length, 'batch': batch, 'attention': kind, 'compiled': compiled}
                way(row, lambda: decode(model, length, batch, kind, caches))
            del caches
            torch.cuda.empty_cache()
        for length in dict.fromkeys(length for length, batch in wanted if batch == 1):
            row = {'what': 'first token', 'context': length, 'batch': 1, 'attention': 'cudnn', 'compiled': compiled}
            way(row, lambda: first_token(model, length, deadline))
            torch.cuda.empty_cache()


if __name__ == '__main__':
    main()
