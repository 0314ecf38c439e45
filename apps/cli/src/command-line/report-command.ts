import { type CommandSet, jsonOption } from './command-set.js'

/** Declares `phsa report`. */
export function declareReport(commands: CommandSet): void {
  commands
    .add('report', {
      summary: 'draw a training run: loss, validation, recall, schedule, throughput',
      description:
        'Draws what the log of a run holds so far, also while it goes on or after it was killed, as one page that needs nothing besides itself. phsa train writes the same page at each checkpoint and at its end.',
      examples: ['phsa report my-model', 'phsa report my-model/log.jsonl --out run.html'],
    })
    .argument('<run>', 'the --out folder of a run, or its log.jsonl')
    .option('--out <file>', 'where to put the page (default: report.html beside the log)')
    .addOption(jsonOption())
    .action(commands.finish(async (run, options) => (await import('../commands/report.js')).runReportCommand(run, options)))
}
