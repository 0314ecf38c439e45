import { Option } from 'commander'
import { backendOption, type CommandSet, dtypeOption, jsonOption, listOption } from './command-set.js'
import { integerBetween, nonEmpty, numberBetween } from './parse-value.js'

/** Declares `phsa serve`. */
export function declareServe(commands: CommandSet): void {
  commands
    .add('serve', {
      summary: 'serve a model over HTTP, as the OpenAI API has it',
      description:
        'Answers /v1/chat/completions, /v1/completions, /v1/models, /tokenize, /detokenize, /health and /metrics until it is stopped. Ctrl-C or SIGTERM takes no more requests, finishes those that run within --grace, and leaves; a second one leaves at once. It listens to this machine alone unless --host says otherwise, and to others only with keys.',
      examples: [
        'phsa serve --model my-model',
        'phsa serve --model my-model --host 0.0.0.0 --api-key-file keys.txt --max-concurrent 32 --queue 128',
        'phsa serve --model my-model --top-k 16 --cache-gib 8 --grace 60 --log',
      ],
    })
    .optionsGroup('Model:')
    .requiredOption('--model <dir>', 'model folder, with its tokenizer')
    .option('--model-name <name>', 'what clients call it (default: the folder’s name)', nonEmpty)
    .addOption(backendOption())
    .addOption(dtypeOption())
    .optionsGroup('Network:')
    .option('--host <address>', 'address to listen on', nonEmpty, '127.0.0.1')
    .option('--port <n>', 'TCP port; 0 takes any that is free', integerBetween(0, 65535), 8000)
    .option('--api-key-file <file>', 'keys that requests must carry, a line NAME KEY each')
    .option('--playground', 'serve the playground at the address itself, without a key')
    .addOption(listOption('--allow-origin <origins>', 'origins whose pages may ask, with commas between', nonEmpty, [], 'none'))
    .optionsGroup('Limits:')
    .option(
      '--max-concurrent <n>',
      'requests worked on at once (default: 64; 16 where the model computes on the host)',
      integerBetween(1, 4096),
    )
    .option('--queue <n>', 'requests that may wait; more are refused with 429 (default: 256)', integerBetween(1))
    .option(
      '--max-tokens <n>',
      'tokens of a prompt and its answer together (default: the model’s positions, as far as the cache holds them)',
      integerBetween(2),
    )
    .option(
      '--cache-tokens <n>',
      'tokens that the key/value cache holds, of all requests together (default: those of one longest request)',
      integerBetween(2),
    )
    .addOption(
      new Option('--cache-gib <x>', 'size of the key/value cache in GiB instead')
        .argParser(numberBetween(1e-6, 1e6))
        .conflicts('cacheTokens'),
    )
    .option(
      '--prefill-chunk <n>',
      'tokens worked on in one step (default: 4096, and four times as many of prompts alone; 512 where the model computes on the host)',
      integerBetween(1),
    )
    .option('--grace <seconds>', 'time for running requests to end when it is told to stop', numberBetween(0, 86_400), 30)
    .optionsGroup('Attention:')
    .addOption(
      new Option('--top-k <n>', 'blocks selected a query where a request does not say, 0 to 64 (default: as the model was saved)')
        .argParser(integerBetween(0, 64))
        .conflicts('dense'),
    )
    .option('--dense', 'attend to everything where a request does not say')
    .option('--min-top-k <n>', 'least blocks that a request may ask for (default: 0)', integerBetween(0, 64))
    .option('--max-top-k <n>', 'most blocks that a request may ask for (default: 64)', integerBetween(0, 64))
    .addOption(new Option('--no-dense-requests', 'refuse requests that ask for dense attention').conflicts('dense'))
    .option('--dense-below <n>', 'queries at earlier positions attend to everything (default: as the model was saved)', integerBetween(0))
    .option(
      '--recall-every <n>',
      'measure the attention recall of every n-th decoding step, for /metrics (default: of none)',
      integerBetween(1),
    )
    .optionsGroup('Output:')
    .option('--log', 'write a line of JSON a request to stderr, without text of prompts and answers')
    .addOption(jsonOption('print one line of JSON when it listens'))
    .action(commands.finish(async (options) => (await import('../commands/serve.js')).runServe(options)))
}
