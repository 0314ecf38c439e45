"""Times a model of the Qwen3-0.6B shape in plain PyTorch on this GPU: what one would use instead of @phsa/model on @phsa/kernels-cuda.

    python3 model.py --out peers.json [--seconds 45] [--only prefill,train] [--small]

bf16, random weights, batch 1, dense causal attention by cuDNN (flash where it refuses), PyTorch's own RMS norm, fused AdamW over f32 copies of the parameters,
no torch.compile. Prefill is the logits of the last token; a training step is forward, cross-entropy (by 8,192 tokens, computed again in the backward pass, so
that the logits are never whole), backward, gradient norm and AdamW, until the loss is on the host. The result file is written after each row.
"""

import argparse
import json
import os
import statistics
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

DEVICE, DTYPE = 'cuda', torch.bfloat16
LOSS_TOKENS = 8192


@dataclass(frozen=True)
class Shape:
    vocabulary: int = 151936
    hidden: int = 1024
    intermediate: int = 3072
    layers: int = 28
    heads: int = 16
    kv_heads: int = 8
    head_dim: int = 128


class Model:
    """Parameters as plain tensors, and the passes over one sequence."""

    def __init__(self, shape, longest):
        self.shape = shape
        generator = torch.Generator(device=DEVICE).manual_seed(1)
        weight = lambda *extents: (torch.randn(*extents, device=DEVICE, generator=generator) * 0.02).to(DTYPE)
        norm = lambda extent: torch.ones(extent, device=DEVICE, dtype=DTYPE)
        q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        self.embedding = weight(shape.vocabulary, shape.hidden)
        self.norm = norm(shape.hidden)
        self.layers = [
            {
                'input_norm': norm(shape.hidden),
                'q': weight(q, shape.hidden),
                'k': weight(kv, shape.hidden),
                'v': weight(kv, shape.hidden),
                'o': weight(shape.hidden, q),
                'q_norm': norm(shape.head_dim),
                'k_norm': norm(shape.head_dim),
                'post_norm': norm(shape.hidden),
                'gate': weight(shape.intermediate, shape.hidden),
                'up': weight(shape.intermediate, shape.hidden),
                'down': weight(shape.hidden, shape.intermediate),
            }
            for _ in range(shape.layers)
        ]
        frequencies = 1e6 ** (-torch.arange(0, shape.head_dim, 2, device=DEVICE, dtype=torch.float64) / shape.head_dim)
        angles = torch.outer(torch.arange(longest, device=DEVICE, dtype=torch.float64), frequencies).repeat(1, 2)[:, None]
        self.cos, self.sin = angles.cos().to(DTYPE), angles.sin().to(DTYPE)

    def parameters(self):
        return [self.embedding, self.norm] + [tensor for layer in self.layers for tensor in layer.values()]

    def rotate(self, x):
        first, second = x.chunk(2, -1)
        return x * self.cos[: x.shape[0]] + torch.cat((-second, first), -1) * self.sin[: x.shape[0]]

    def hidden(self, ids):
        """ids [T] to [T, E], before the final norm."""
        shape = self.shape
        rms = lambda x, weight: F.rms_norm(x, (x.shape[-1],), weight, 1e-6)
        heads = lambda x: x.view(len(ids), -1, shape.head_dim)
        batched = lambda x: x.transpose(0, 1)[None]
        x = F.embedding(ids, self.embedding)
        for layer in self.layers:
            normed = rms(x, layer['input_norm'])
            q = self.rotate(rms(heads(F.linear(normed, layer['q'])), layer['q_norm']))
            k = self.rotate(rms(heads(F.linear(normed, layer['k'])), layer['k_norm']))
            v = heads(F.linear(normed, layer['v']))
            with sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION], set_priority=True):
                out = F.scaled_dot_product_attention(batched(q), batched(k), batched(v), is_causal=True, enable_gqa=True)
            x = x + F.linear(out[0].transpose(0, 1).reshape(len(ids), -1), layer['o'])
            normed = rms(x, layer['post_norm'])
            x = x + F.linear(F.silu(F.linear(normed, layer['gate'])) * F.linear(normed, layer['up']), layer['down'])
        return x

    def logits(self, x):
        return F.linear(F.rms_norm(x, (x.shape[-1],), self.norm, 1e-6), self.embedding)

    def loss(self, ids):
        """Mean loss of the next tokens."""
        x, targets = self.hidden(ids)[:-1], ids[1:]
        part = lambda rows, wanted: F.cross_entropy(self.logits(rows), wanted, reduction='sum')
        pieces = list(zip(x.split(LOSS_TOKENS), targets.split(LOSS_TOKENS)))
        once = len(pieces) == 1
        return sum(part(*piece) if once else checkpoint(part, *piece, use_reentrant=False) for piece in pieces) / len(targets)


class Training:
    """AdamW over f32 copies, whose small updates would round away in bf16."""

    def __init__(self, model):
        self.model = model
        self.parameters = [parameter.requires_grad_() for parameter in model.parameters()]
        self.copies = [parameter.detach().float() for parameter in self.parameters]
        for copy in self.copies:
            copy.grad = torch.zeros_like(copy)
        self.optimizer = torch.optim.AdamW(self.copies, lr=1e-5, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def step(self, ids):
        loss = self.model.loss(ids)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=True)
        with torch.no_grad():
            torch._foreach_copy_([copy.grad for copy in self.copies], [parameter.grad for parameter in self.parameters])
            self.optimizer.step()
            torch._foreach_copy_(self.parameters, self.copies)
        for parameter in self.parameters:
            parameter.grad = None
        return loss.item()


def figures_of(samples):
    """The median of milliseconds, and the median distance from it."""
    middle = statistics.median(samples)
    return {'milliseconds': middle, 'deviation': statistics.median(abs(sample - middle) for sample in samples), 'samples': samples}


def skipped(error):
    """What a row says that failed: the next one is measured all the same."""
    reason = str(error).strip().splitlines() or ['']
    return {'skipped': f'{type(error).__name__}: {reason[0]}'[:300]}


def new_report(name):
    return {
        'format': f'{name}/1',
        'createdAt': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
        'device': torch.cuda.get_device_name(),
        'versions': {'torch': torch.__version__, 'cuda': torch.version.cuda, 'cudnn': torch.backends.cudnn.version()},
        'rows': [],
    }


def samples_of(run, deadline):
    """Milliseconds of warm runs, each until its result is on the host; the result must be finite."""

    def once():
        started = time.monotonic()
        value = run()
        if value != value or value in (float('inf'), float('-inf')):
            raise ArithmeticError(f'the result is {value}')
        return (time.monotonic() - started) * 1e3

    once()
    second = once()
    repeats = 10 if second < 100 else 4 if second < 1000 else 1
    if time.monotonic() + repeats * second / 1e3 > deadline:
        return [second]
    return [once() for _ in range(repeats)]


def measure(model, group, length, deadline):
    row = {'group': group, 'length': length}
    if time.monotonic() > deadline:
        return {**row, 'skipped': 'the time for this program was over'}
    try:
        torch.cuda.reset_peak_memory_stats()
        ids = torch.randint(model.shape.vocabulary, (length,), device=DEVICE, generator=torch.Generator(device=DEVICE).manual_seed(length))
        if group == 'prefill':
            with torch.no_grad():
                samples = samples_of(lambda: model.logits(model.hidden(ids)[-1:]).float().sum().item(), deadline)
        else:
            training = Training(model)
            samples = samples_of(lambda: training.step(ids), deadline)
        return {**row, **figures_of(samples), 'peakBytes': torch.cuda.max_memory_allocated()}
    except Exception as error:
        return {**row, **skipped(error)}
    finally:
        for parameter in model.parameters():
            parameter.grad = None
            parameter.requires_grad_(False)
        torch.cuda.empty_cache()


def write(path, report):
    with open(f'{path}.part', 'w') as file:
        json.dump(report, file, indent=2)
    os.replace(f'{path}.part', path)


def main():
    parser = argparse.ArgumentParser(description='Times a model of the Qwen3-0.6B shape in PyTorch on this GPU.')
    parser.add_argument('--out', required=True, help='result file')
    parser.add_argument('--seconds', type=float, default=45, help='no new row is started after this')
    parser.add_argument('--only', default='prefill,train', help='some of prefill, train')
    parser.add_argument('--small', action='store_true', help='two layers and short sequences, to see that everything works')
    options = parser.parse_args()
    deadline = time.monotonic() + options.seconds
    shape = Shape(vocabulary=8192, layers=2) if options.small else Shape()
    prompts, trained = ([1024, 2048], [1024]) if options.small else ([4096, 32768, 131072], [4096, 32768])
    rows = [('prefill', length) for length in prompts] + [('train', length) for length in trained]
    report = new_report('phsa-model-peers')
    model = Model(shape, max(prompts))
    # The longest prompt takes most of the time, so it comes last.
    for group, length in sorted((row for row in rows if row[0] in options.only.split(',')), key=lambda row: row[1]):
        measured = measure(model, group, length, deadline)
        report['rows'].append(measured)
        write(options.out, report)
        figure = f'{measured["milliseconds"]:.2f} ms' if 'milliseconds' in measured else measured['skipped']
        print(f'PyTorch {group} {length}: {figure}', flush=True)


if __name__ == '__main__':
    main()
