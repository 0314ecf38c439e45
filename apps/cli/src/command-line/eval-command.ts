import { POLICY_NAMES } from '@phsa/core'
import { Option } from 'commander'
import { backendOption, type CommandSet, dtypeOption, jsonOption, listOption } from './command-set.js'
import { integerBetween, listOf, numberBetween, oneMore, oneOf } from './parse-value.js'

/** Declares `phsa eval`. */
export function declareEval(commands: CommandSet): void {
  commands
    .add('eval', {
      summary: 'measure a model by selection policy and budget: perplexity, recall, needles, multiple choice',
      description:
        'Measures on text that the model was not trained on, for each policy and topK: perplexity with that policy in every layer, the share of dense attention that falls on visible keys, the share of the oracle’s blocks that were chosen, and with --needle how often a fact hidden in filler is given back. Dense attention is always measured besides, as the control. Every line counts the same positions: those past what the largest topK makes visible.',
      examples: [
        'phsa eval held-out.txt --model my-model',
        'phsa eval held-out.txt --model my-model --policies phsa,mean-pool,oracle --top-k 2,8 --windows 16 --tokens 2048',
        'phsa eval held-out.txt --model my-model --positions --heads --tokens 8192 --html report.html',
        'phsa eval --model my-model --choices arc-easy.jsonl --top-k 2',
        'phsa eval held-out.txt --model my-model --needle --needle-lengths 512,1024 --depths 0,0.5,1 --trials 20 --out result.json',
      ],
    })
    .argument('[files...]', 'text files, .txt or .txt.gz; two blank lines between documents')
    .optionsGroup('Input:')
    .requiredOption('--model <dir>', 'model folder with its tokenizer')
    .option('--windows <n>', 'windows of text', integerBetween(1), 8)
    .option('--tokens <n>', 'tokens a window', integerBetween(16), 1024)
    .option('--seed <n>', 'decides the windows, the sampled queries and the needles', integerBetween(0, 2 ** 31 - 1), 0)
    .addOption(backendOption())
    .addOption(dtypeOption())
    .optionsGroup('What is compared:')
    .addOption(
      listOption('--policies <list>', `some of ${POLICY_NAMES.join(', ')}`, oneOf(POLICY_NAMES), ['phsa', 'mean-pool', 'infllm-v2']),
    )
    .addOption(listOption('--top-k <list>', 'blocks selected a query, each 0 to 64', integerBetween(0, 64), [1, 2, 4, 8, 16]))
    .optionsGroup('More measures:')
    .option('--positions', 'perplexity by position in the windows, against dense')
    .option('--heads', 'print the recall of every layer and head; --json and --html have it anyway')
    .option(
      '--choices <file>',
      'multiple-choice questions, several times for several files; a JSON object a line with context (or query), choices, gold',
      oneMore,
    )
    .optionsGroup('Needle retrieval:')
    .option('--needle', 'measure it: a fact is hidden in the text and asked for at its end')
    .addOption(needleOption('--needle-lengths <list>', 'tokens of the prompts (default: --tokens)', listOf(integerBetween(32))))
    .addOption(
      needleOption(
        '--depths <list>',
        'places of the needle, 0 at the start to 1 at the end (default: 0,0.25,0.5,0.75,1)',
        listOf(numberBetween(0, 1)),
      ),
    )
    .addOption(needleOption('--trials <n>', 'prompts a length and depth (default: 10)', integerBetween(1)))
    .optionsGroup('Output:')
    .option('--out <file>', 'write the results as JSON')
    .option('--html <file>', 'write a page with heat maps and tables')
    .addOption(jsonOption())
    .action(commands.finish(async (files, options) => (await import('../commands/eval.js')).runEval(files, options)))
}

/** An option that says nothing without `--needle`, and so asks for it. */
function needleOption<T>(flags: string, description: string, parse: (text: string) => T): Option {
  return new Option(flags, description).argParser(parse).implies({ needle: true })
}
