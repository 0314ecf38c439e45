import { Option } from 'commander'
import { backends } from '../backends.js'
import { BENCH_GROUPS } from '../bench/bench-case.js'
import { type CommandSet, jsonOption, listOption } from './command-set.js'
import { integerBetween, numberBetween, oneOf } from './parse-value.js'

/** Declares `phsa bench`. */
export function declareBench(commands: CommandSet): void {
  commands
    .add('bench', {
      summary: 'time backends side by side, each figure after a comparison with the reference',
      description:
        'Times matrix products, one layer of attention (sparse and dense, forward and backward), training steps and generation with a decoder of 1.8 million parameters. Before anything is timed its results are compared with the float64 reference; what is wrong gets no figure and the exit code 1. With the default sizes all of it takes minutes on WebAssembly and far longer on tfjs-cpu; --backend, --only and smaller sizes shorten it. Warm-up, every run, machine, load and commit go into the result file.',
      examples: [
        'phsa bench',
        'phsa bench --backend tfjs-wasm tfjs-cpu --only matmul,generate',
        'phsa bench --only attention --length 8192 --heads 16 --kv-heads 8 --head-dim 128 --top-k 2,16 --out attention-8k.json',
        'phsa bench --backend reference --only matmul --matmul 64 --json',
      ],
    })
    .optionsGroup('What is timed:')
    .addOption(
      new Option('--backend <names...>', 'backends (default: all that work here, without aliases and the reference)').choices(
        backends.map(({ name }) => name),
      ),
    )
    .addOption(listOption('--only <list>', `some of ${BENCH_GROUPS.join(', ')}`, oneOf(BENCH_GROUPS), BENCH_GROUPS, 'all'))
    .option('--seconds <n>', 'seconds of timed runs for a figure; slow ones get 3 runs, or what a minute allows', numberBetween(0, 3600), 3)
    .optionsGroup('Sizes:')
    .option('--matmul <n>', 'rows and columns of the matrices', integerBetween(1, 16384), 1024)
    .option('--length <n>', 'attention: tokens of the sequence', integerBetween(1, 1_048_576), 4096)
    .option('--heads <n>', 'attention: query heads', integerBetween(1), 8)
    .option('--kv-heads <n>', 'attention: key/value heads', integerBetween(1), 4)
    .option('--head-dim <n>', 'attention: head dimension', integerBetween(2), 64)
    .addOption(
      listOption('--top-k <list>', 'attention: blocks selected a query, each 1 to 64; dense comes besides', integerBetween(1, 64), [2, 16]),
    )
    .option('--prompt-tokens <n>', 'generation: tokens of the prompt', integerBetween(1, 3840), 512)
    .option('--new-tokens <n>', 'generation: tokens to write', integerBetween(2, 256), 32)
    .optionsGroup('Output:')
    .option('--out <file>', 'result file; a folder gets a file named after the machine', 'phsa-bench.json')
    .addOption(jsonOption())
    .action(commands.finish(async (options) => (await import('../commands/bench.js')).runBench(options)))
}
