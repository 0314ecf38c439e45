import { Option } from 'commander'
import { backendOption, type CommandSet, dtypeOption, jsonOption } from './command-set.js'
import { integerBetween, nonEmpty, numberBetween, oneMore } from './parse-value.js'

/** Declares `phsa generate`. */
export function declareGenerate(commands: CommandSet): void {
  commands
    .add('generate', {
      summary: 'continue a prompt, token by token',
      description:
        'Prints the prompt and its continuation as the tokens come, or with --chat the answer alone. Without options of sampling it does what the folder’s generation_config.json says, and where there is none it takes the likeliest token each time.',
      examples: [
        'phsa generate --model my-model --prompt "It is a truth"',
        'phsa generate --model my-model --prompt "It is a truth" --top-k 8 --temperature 0.8 --top-p 0.95 --seed 1',
        'phsa generate --model my-model --chat --system "Answer briefly." --prompt "Who is Emma?" --stop "User:"',
        'cat prompt.txt | phsa generate --model my-model --prompt - --dense --json',
      ],
    })
    .optionsGroup('Input:')
    .requiredOption('--model <dir>', 'model folder')
    .addOption(new Option('--prompt <text>', 'text to continue, or - for what stdin holds').argParser(nonEmpty))
    .addOption(new Option('--prompt-file <file>', 'text file to continue, .txt or .txt.gz').conflicts('prompt'))
    .option('--chat', 'take the prompt as a user’s message, through the folder’s chat template')
    .option('--system <text>', 'with --chat: the system’s message', nonEmpty)
    .addOption(backendOption())
    .addOption(dtypeOption())
    .optionsGroup('Attention:')
    .addOption(
      new Option('--top-k <n>', 'blocks selected a query, 0 to 64 (default: as the model was saved)')
        .argParser(integerBetween(0, 64))
        .conflicts('dense'),
    )
    .option('--dense', 'attend to everything')
    .option('--policy <name>', 'how blocks are selected: phsa, mean-pool, infllm-v2, punctuation-only', 'phsa')
    .optionsGroup('Length:')
    .option('--max-new-tokens <n>', 'tokens to write at most (default: the folder’s, else 64)', integerBetween(1))
    .option('--stop <text>', 'end before this text; may be given several times', oneMore)
    .optionsGroup('Sampling:')
    .option(
      '--temperature <x>',
      'above 0 draws tokens at random; 0 takes the likeliest (default: the folder’s; else 0, or 1 with another option of sampling)',
      numberBetween(0, 100),
    )
    .option('--sample-top-k <n>', 'draw from the n likeliest tokens; 0 for all (default: the folder’s, else 0)', integerBetween(0))
    .option(
      '--top-p <x>',
      'draw from the likeliest tokens that hold this share of the probability (default: the folder’s, else 1)',
      numberBetween(1e-6, 1),
    )
    .option(
      '--min-p <x>',
      'draw from tokens of at least this share of the likeliest one’s probability (default: the folder’s, else 0)',
      numberBetween(0, 1),
    )
    .option(
      '--repetition-penalty <x>',
      'divides the chances of tokens that were there already; 1 for none (default: the folder’s, else 1)',
      numberBetween(0.01, 100),
    )
    .option('--seed <n>', 'the same number writes the same text (default: 0)', integerBetween(0, 2 ** 31 - 1))
    .optionsGroup('Output:')
    .addOption(jsonOption('print one object at the end: text, ids, counts, seconds and why it ended'))
    .action(commands.finish(async (options) => (await import('../commands/generate.js')).runGenerate(options)))
}
