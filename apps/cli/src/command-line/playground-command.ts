import { type CommandSet, jsonOption } from './command-set.js'
import { integerBetween } from './parse-value.js'

/** Declares `phsa playground`. */
export function declarePlayground(commands: CommandSet): void {
  commands
    .add('playground', {
      summary: 'a web page that shows what attention looks at',
      description:
        'Serves a page to this machine, until Ctrl-C, on which a small trained model reads a text in the browser: blocks, what PHSA and two other methods choose for any token, what it costs and how long it takes. Nothing leaves the browser.',
      examples: ['phsa playground', 'phsa playground --port 9000'],
    })
    .optionsGroup('Network:')
    .option('--port <n>', 'TCP port; 0 takes any that is free', integerBetween(0, 65535), 8001)
    .optionsGroup('Output:')
    .addOption(jsonOption('print one line of JSON when it listens'))
    .action(commands.finish(async (options) => (await import('../commands/playground.js')).runPlayground(options)))
}
