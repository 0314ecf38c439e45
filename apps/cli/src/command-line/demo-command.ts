import { backendOption, type CommandSet, jsonOption } from './command-set.js'
import { integerBetween, numberBetween } from './parse-value.js'

/** Declares `phsa demo`. */
export function declareDemo(commands: CommandSet): void {
  commands
    .add('demo', {
      summary: 'the whole way in under three minutes: train, compare, generate, report',
      description:
        'Trains a decoder of 1.8 million parameters on bundled text (Pride and Prejudice), dense first and then sparse with block distillation, compares selection policies on text that it has not seen, continues a prompt, and leaves one page with everything drawn. Needs no files and no network.',
      examples: ['phsa demo', 'phsa demo --steps 50 --seed 1 --out demo-1', 'phsa demo --seconds 20 --json > demo.json'],
    })
    .optionsGroup('Training:')
    .option('--steps <n>', 'training steps; makes the run repeatable (default: as many as fit --seconds)', integerBetween(2))
    .option('--seconds <n>', 'seconds for training, where --steps is not given', numberBetween(5, 86400), 100)
    .option('--seed <n>', 'decides the weights and the order of the data', integerBetween(0, 2 ** 31 - 1), 0)
    .addOption(backendOption())
    .optionsGroup('Output:')
    .option('--out <dir>', 'folder for report.html, results.json, log.jsonl and the model', 'phsa-demo')
    .addOption(jsonOption('print the content of results.json instead of text; progress stays on stderr'))
    .action(commands.finish(async (options) => (await import('../commands/demo.js')).runDemo(options)))
}
