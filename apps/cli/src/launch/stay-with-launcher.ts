import { ExitCode } from '../exit-code.js'

/** Ends this process, where `launchRanks` has started it, together with the one that did: otherwise a launcher that is killed would leave its ranks behind. */
export function stayWithLauncher(): void {
  if (!process.channel) return
  process.once('disconnect', () => process.exit(ExitCode.interrupted))
  // Work that is done ends this process, whether the launcher listens or not.
  process.channel.unref()
}
