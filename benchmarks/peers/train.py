"""Times training steps of the Qwen3-0.6B shape in plain PyTorch on this GPU, several ways: beside `bench-train`, whose factors count the fastest of them.

    python3 train.py --out peers.json [--seconds 150] [--only 8x4096,1x32768,1x131072] [--small]

The model, its optimizer and the rules of `model.py`: bf16, dense causal attention by cuDNN, fused AdamW over f32 copies. No `transformers`: the same
mathematics without its modules. Compiled means torch.compile of one layer, used for all of them, and of the loss; checkpointing keeps each layer's input only. The loss is
taken by 8,192 tokens; their logits are kept for the backward pass, or computed again in it. The result file is written after each way.
"""

import argparse
import math
import signal
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from model import DEVICE, LOSS_TOKENS, Model, Shape, Training, figures_of, new_report, skipped, write

IGNORED = -100
BACKENDS = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION]


@dataclass(frozen=True)
class Way:
    """How a step is taken."""

    compiled: bool
    checkpointing: bool
    keeps_logits: bool


def rms(x, weight):
    return F.rms_norm(x, (x.shape[-1],), weight, 1e-6)


def rotate(x, cos, sin):
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


def before_attention(x, cos, sin, weights):
    """x [..., E]; cos and sin broadcast to [..., H, D]. Gives q, k, v [..., H, D]."""
    normed = rms(x, weights['input_norm'])
    heads = lambda projected: projected.unflatten(-1, (-1, cos.shape[-1]))
    q = rotate(rms(heads(F.linear(normed, weights['q'])), weights['q_norm']), cos, sin)
    k = rotate(rms(heads(F.linear(normed, weights['k'])), weights['k_norm']), cos, sin)
    return q, k, heads(F.linear(normed, weights['v']))


def after_attention(x, out, weights):
    x = x + F.linear(out, weights['o'])
    normed = rms(x, weights['post_norm'])
    return x + F.linear(F.silu(F.linear(normed, weights['gate'])) * F.linear(normed, weights['up']), weights['down'])


def layer_pass(x, cos, sin, weights):
    """x [B, T, E]; cos and sin [T, 1, D]."""
    q, k, v = before_attention(x, cos, sin, weights)
    out = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True, enable_gqa=True)
    return after_attention(x, out.transpose(1, 2).flatten(2), weights)


def summed_loss(x, norm, head, targets):
    return F.cross_entropy(F.linear(rms(x, norm), head), targets, reduction='sum', ignore_index=IGNORED)


class BatchModel(Model):
    """The model over [B, T] sequences, in one of the ways."""

    def take(self, way):
        self.way = way
        # One length at a time; what another one compiled is not waited for.
        torch._dynamo.reset()
        compiled = (lambda run: torch.compile(run, dynamic=False)) if way.compiled else (lambda run: run)
        self.layer_pass, self.summed_loss = compiled(layer_pass), compiled(summed_loss)

    def loss(self, ids):
        again = lambda run, *args: checkpoint(run, *args, use_reentrant=False)
        at_once = lambda run, *args: run(*args)
        run_layer = again if self.way.checkpointing else at_once
        run_loss = at_once if self.way.keeps_logits else again
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        x = F.embedding(ids, self.embedding)
        for layer in self.layers:
            x = run_layer(self.layer_pass, x, cos, sin, layer)
        targets = torch.full_like(ids, IGNORED)
        targets[:, :-1] = ids[:, 1:]
        pieces = zip(x.flatten(0, 1).split(LOSS_TOKENS), targets.flatten().split(LOSS_TOKENS))
        total = sum(run_loss(self.summed_loss, rows, self.norm, self.embedding, wanted).float() for rows, wanted in pieces)
        return total / (ids.numel() - len(ids))


def ways_of(length, small):
    """The fastest first, by what to expect. Of the longest only what fits, and what a step of twenty seconds leaves time for."""
    if length > 65536:
        return [Way(True, True, False), Way(False, True, False)]
    ways = [Way(True, False, True), Way(True, False, False), Way(False, False, False), Way(True, True, False)]
    return ways[1:] if small else ways


def compile_budget(seconds):
    """Ends what takes longer with an error."""

    def stop(*_):
        raise TimeoutError(f'compiling and one step took more than {seconds} s')

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(int(seconds))


def samples_of(step, deadline):
    """Milliseconds of warm steps, each until its loss is on the host; the loss must be finite."""

    def once():
        started = time.monotonic()
        loss = step()
        if not math.isfinite(loss):
            raise ArithmeticError(f'the loss is {loss}')
        return (time.monotonic() - started) * 1e3

    first = once()
    repeats = 9 if first < 100 else 4 if first < 2000 else 0
    if time.monotonic() + repeats * first / 1e3 > deadline:
        return [first]
    return [first] + [once() for _ in range(repeats)]


def measure(model, sequences, length, way, deadline, budget):
    row = {'sequences': sequences, 'length': length, 'compiled': way.compiled, 'checkpointing': way.checkpointing, 'keepsLogits': way.keeps_logits}
    if time.monotonic() > deadline:
        return {**row, 'skipped': 'the time for this program was over'}
    try:
        torch.cuda.reset_peak_memory_stats()
        model.take(way)
        generator = torch.Generator(device=DEVICE).manual_seed(length)
        ids = torch.randint(model.shape.vocabulary, (sequences, length), device=DEVICE, generator=generator)
        training = Training(model)
        started = time.monotonic()
        # Around the backward pass too, which computes layers again.
        with sdpa_kernel(BACKENDS, set_priority=True):
            compile_budget(budget)
            training.step(ids)
            signal.alarm(0)
            first = time.monotonic() - started
            samples = samples_of(lambda: training.step(ids), deadline)
        return {**row, **figures_of(samples), 'firstSeconds': first, 'peakBytes': torch.cuda.max_memory_allocated()}
    except Exception as error:
        return {**row, **skipped(error)}
    finally:
        signal.alarm(0)
        for parameter in model.parameters():
            parameter.grad = None
            parameter.requires_grad_(False)
        torch.cuda.empty_cache()


def main():
    parser = argparse.ArgumentParser(description='Times training steps of the Qwen3-0.6B shape in PyTorch on this GPU.')
    parser.add_argument('--out', required=True, help='result file')
    parser.add_argument('--seconds', type=float, default=150, help='no new way is started after this')
    parser.add_argument('--compile-seconds', type=float, default=90, help='a first step may take this long')
    parser.add_argument('--only', help='some of 8x4096, 1x32768, 1x131072')
    parser.add_argument('--small', action='store_true', help='two layers and short sequences, to see that everything works')
    options = parser.parse_args()
    deadline = time.monotonic() + options.seconds
    shape = Shape(vocabulary=8192, layers=2) if options.small else Shape()
    batches = [(2, 512), (1, 1024)] if options.small else [(8, 4096), (1, 32768), (1, 131072)]
    wanted = [batch for batch in batches if options.only is None or f'{batch[0]}x{batch[1]}' in options.only.split(',')]
    report = new_report('phsa-train-peers')
    model = BatchModel(shape, max(length for _, length in batches))
    for sequences, length in wanted:
        for way in ways_of(length, options.small):
            measured = measure(model, sequences, length, way, deadline, options.compile_seconds)
            report['rows'].append(measured)
            write(options.out, report)
            figure = f'{measured["milliseconds"]:.2f} ms' if 'milliseconds' in measured else measured['skipped']
            print(f'PyTorch {sequences} x {length} {way}: {figure}', flush=True)


if __name__ == '__main__':
    main()
