import { backendOption, type CommandSet, jsonOption } from './command-set.js'
import { integerBetween } from './parse-value.js'

/** Declares `phsa inspect`. */
export function declareInspect(commands: CommandSet): void {
  commands
    .add('inspect', {
      summary: 'show how a text falls into blocks and what a query selects from it',
      description:
        'Shows tokens, punctuation with its weight, and blocks; with a model also which blocks a query selects by PHSA and by mean-pool, and how much of its dense attention lies on each. Without a model nothing can be selected, only forced.',
      examples: [
        'phsa inspect passage.txt',
        'phsa inspect passage.txt --model my-model --layer 2 --top-k 4 --out map.html',
        'phsa inspect passage.txt --max-tokens 256 --json > passage.json',
      ],
    })
    .argument('<file>', 'text file, .txt or .txt.gz')
    .optionsGroup('Input:')
    .option('--model <dir>', 'use the queries and keys of this model')
    .option('--tokenizer <path>', 'tokenizer.json or its folder (default: the model’s, else the bundled one)')
    .option('--max-tokens <n>', 'look at no more than the first n tokens', integerBetween(1), 1024)
    .addOption(backendOption())
    .optionsGroup('What to look at:')
    .option('--query <n>', 'position of the query in tokens, from 0 (default: the last one)', integerBetween(0))
    .option('--layer <n>', 'layer, from 0 (default: the middle one)', integerBetween(0))
    .option('--kv-head <n>', 'KV head, from 0', integerBetween(0), 0)
    .option('--top-k <n>', 'blocks selected a query, 0 to 64 (default: as the model was saved)', integerBetween(0, 64))
    .optionsGroup('Output:')
    .option('--out <file>', 'write a picture: .html or .svg')
    .addOption(jsonOption())
    .action(commands.finish(async (file, options) => (await import('../commands/inspect.js')).runInspect(file, options)))
}
