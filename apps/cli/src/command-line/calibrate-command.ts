import { backendOption, type CommandSet, dtypeOption, jsonOption, listOption } from './command-set.js'
import { integerBetween, listOf, numberBetween, oneMore, oneOf } from './parse-value.js'

/** Declares `phsa calibrate`. */
export function declareCalibrate(commands: CommandSet): void {
  commands
    .add('calibrate', {
      summary: 'measure which lambda each layer and head of a model wants, and write it into its config.json',
      description:
        'Runs the model densely over a text and measures, for each layer and KV head, how much of the dense attention the blocks hold that PHSA would choose with each lambda, number of representatives and score, and how often the strongest far key is punctuation. Lambdas are chosen on the first half of the text, and what they gain is measured on the second; a difference within its 95 % interval changes nothing. Says so where punctuation does not help this model.',
      examples: [
        'phsa calibrate my-model --text book.txt --dry-run',
        'phsa calibrate my-model --text book.txt --windows 32 --tokens 8192 --top-k 8 --html calibration.html',
        'phsa calibrate my-model --text book.txt --out my-model-calibrated',
      ],
    })
    .argument('<model>', 'model folder with its tokenizer')
    .optionsGroup('Input:')
    .requiredOption(
      '--text <file>',
      'text that is like what the model will read, .txt or .txt.gz; several times for several files',
      oneMore,
    )
    .option('--windows <n>', 'windows of text, each within one document; more see smaller differences', integerBetween(4), 16)
    .option('--tokens <n>', 'tokens a window (default: 4096, or the model’s longest where that is less)', integerBetween(16))
    .option('--rows <n>', 'query positions sampled a window', integerBetween(1), 32)
    .option('--seed <n>', 'decides the sampled positions', integerBetween(0, 2 ** 31 - 1), 0)
    .addOption(backendOption())
    .addOption(dtypeOption())
    .optionsGroup('What is compared:')
    .option('--top-k <n>', 'the budget: blocks selected a query, 1 to 64 (default: as the model was saved)', integerBetween(1, 64))
    .option('--lambdas <list>', 'candidates; 0.5, 1 and what the model has come besides (default: 0,0.1 to 1)', listOf(numberBetween(0, 1)))
    .option('--representatives <list>', 'representatives a block (default: those of 1,2,4 that divide it)', listOf(integerBetween(1)))
    .addOption(listOption('--scores <list>', 'softmax, logit', oneOf(['softmax', 'logit'] as const), ['softmax', 'logit']))
    .optionsGroup('Output:')
    .option('--out <dir>', 'write a calibrated copy of the model there, in place of changing the model')
    .option('--dry-run', 'write no configuration')
    .option('--html <file>', 'write a page with heat maps and tables')
    .addOption(jsonOption())
    .action(commands.finish(async (model, options) => (await import('../commands/calibrate.js')).runCalibrate(model, options)))
}
