import { backendOption, type CommandSet, jsonOption } from './command-set.js'
import { integerBetween, nonEmpty } from './parse-value.js'

/** Declares `phsa demo`. */
export function declareDemo(commands: CommandSet): void {
  commands
    .add('demo', {
      summary: 'a trained model reads a novel under dense, mean-pool and PHSA attention; then the playground and the API',
      description:
        'Continues a novel that the bundled model (4.7 million parameters, context 32,768) was not trained on, under dense attention, mean-pool and PHSA, and prints time and perplexity of each: 8,192 tokens on a CPU in little more than a minute, 32,768 on a GPU. Then it serves the playground and the API with that model, until Ctrl-C. Where stdout is no terminal it ends after printing. Needs no files and no network.',
      examples: ['phsa demo', 'phsa demo --backend cuda --tokens 32768', 'phsa demo --tokens 2048 --json > demo.json'],
    })
    .optionsGroup('Reading:')
    .option(
      '--tokens <n>',
      'tokens of the novel that are read (default: 8192 where the model computes on the host, else 32768)',
      integerBetween(64),
    )
    .option(
      '--max-new-tokens <n>',
      'tokens that each kind of attention writes; as many of the novel are kept from it',
      integerBetween(2, 32),
      16,
    )
    .option('--seed <n>', 'decides what is drawn', integerBetween(0, 2 ** 31 - 1), 0)
    .addOption(backendOption())
    .optionsGroup('Network:')
    .option('--serve', 'serve the playground and the API afterwards, also where stdout is no terminal')
    .option('--no-serve', 'end after printing, also on a terminal')
    .option('--port <n>', 'TCP port of both; 0 takes any that is free', integerBetween(0, 65535), 0)
    .optionsGroup('Output:')
    .option('--out <file>', 'write the results as JSON', nonEmpty)
    .addOption(jsonOption('print the results as JSON instead of text; progress stays on stderr'))
    .action(commands.finish(async (options) => (await import('../commands/demo.js')).runDemo(options)))
}
