import { Option } from 'commander'
import { type CommandSet, jsonOption } from './command-set.js'
import { integerBetween, nonEmpty } from './parse-value.js'

/** Declares `phsa tokenize`. */
export function declareTokenize(commands: CommandSet): void {
  commands
    .add('tokenize', {
      summary: 'tokenize text, JSONL, parquet and dataset folders once, for phsa train',
      description:
        'Writes the token ids of all documents into shards, with a manifest that says what they were made from and holds their hashes; phsa train reads such a folder instead of text. The folder appears when it is complete. One that was made from the same files by the same tokenizer is left as it is, any other is refused with what differs.',
      examples: [
        'phsa tokenize book.txt --out tokens',
        'phsa tokenize a.jsonl.gz b.jsonl.gz --text-field content --tokenizer my-model --out tokens',
        'phsa tokenize fineweb-sample --split train --tokenizer tokenizer.json --out tokens --json',
        'phsa tokenize data.parquet --out tokens --on-bad-record fail',
      ],
    })
    .argument(
      '<sources...>',
      'files, .txt (two blank lines between documents), .jsonl or .parquet, .txt and .jsonl also with .gz, and folders of such files as the Hugging Face Hub has them',
    )
    .requiredOption('--out <dir>', 'new folder for the shards', nonEmpty)
    .option('--tokenizer <path>', 'tokenizer.json or its folder, such as a model (default: the bundled one of 8,192 tokens)')
    .option('--text-field <name>', 'field of JSONL records, column of parquet rows', nonEmpty, 'text')
    .option('--split <name>', 'part of a dataset folder, by the names of its files', nonEmpty, 'train')
    .addOption(
      new Option('--on-bad-record <what>', 'a record without text, or damaged, is left out and reported, or ends the command')
        .choices(['skip', 'fail'])
        .default('skip'),
    )
    .option(
      '--workers <n>',
      'processes that tokenize side by side (default: one a core, up to 8, for large sources)',
      integerBetween(1, 256),
    )
    .addOption(jsonOption('print what was written as JSON; progress stays on stderr'))
    .action(commands.finish(async (sources, options) => (await import('../commands/tokenize.js')).runTokenize(sources, options)))
}
