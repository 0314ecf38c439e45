import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { ExitCode } from '../exit-code.js'

/** Time that the others have to end after a rank has failed, milliseconds: enough to give back a GPU, not to train on. */
const GRACE = 10_000
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
/** How a rank may end without having failed. */
const GOOD_ENDS: readonly (number | null)[] = [ExitCode.ok, ExitCode.interrupted]

/** One process a rank: what is started, and how many times. */
export interface RankLaunch {
  readonly command: string
  readonly args: readonly string[]
  readonly size: number
  /** Gets the lines of what the ranks say on stderr, those of rank 0 aside, and why the job failed; without line ends. Default: stderr. */
  readonly say?: (line: string) => void
}

interface RankProcess {
  readonly rank: number
  readonly process: ChildProcess
  /** What it said last on stderr; nothing is known of rank 0, whose words go straight to the terminal. */
  lastWords: string
}

/**
 * Starts the ranks of a group on this machine, with the variables that torchrun sets, and waits for all of them. Rank 0 speaks for the job: its output is this
 * process's. Where a rank fails the others are ended. Ctrl-C and SIGTERM reach all, each of which ends in its own time; where this process is killed they
 * notice by themselves, see `stayWithLauncher`.
 * @returns the exit code of the rank that failed first, 0 or 130 where none did
 */
export async function launchRanks({ command, args, size, say = sayOnStderr }: RankLaunch): Promise<number> {
  const port = await freePort()
  const ranks = Array.from({ length: size }, (_, rank) => startRank({ command, args, size, say }, rank, port))
  const tell = (signal: NodeJS.Signals) => {
    for (const { process } of ranks) process.kill(signal)
  }
  let asked: NodeJS.Signals | undefined
  const forward = (signal: NodeJS.Signals) => {
    asked = signal
    tell(signal)
  }
  for (const signal of SIGNALS) process.on(signal, forward)
  let failed: { rank: RankProcess; code: number | null; signal: NodeJS.Signals | null } | undefined
  let impatience: NodeJS.Timeout | undefined
  try {
    const codes = await Promise.all(
      ranks.map(async (rank) => {
        const [code, signal] = await endOf(rank.process)
        // It was asked before it could listen.
        if (signal !== null && signal === asked) return ExitCode.interrupted
        if (!failed && !GOOD_ENDS.includes(code)) {
          failed = { rank, code, signal }
          tell('SIGTERM')
          impatience = setTimeout(() => tell('SIGKILL'), GRACE)
        }
        return code
      }),
    )
    if (!failed) return codes.find((code) => code !== ExitCode.ok) ?? ExitCode.ok
    const { rank, code, signal } = failed
    const how = code === null ? `was ended by ${signal}` : `ended with exit code ${code}`
    // Who is killed has no word for it.
    const words = code !== null && rank.lastWords ? ` It said last: ${rank.lastWords}` : ''
    say(`phsa: rank ${rank.rank} of ${size} ${how}, so the job was ended.${words}`)
    return code ?? ExitCode.backendUnavailable
  } finally {
    clearTimeout(impatience)
    for (const signal of SIGNALS) process.off(signal, forward)
    tell('SIGKILL')
  }
}

function startRank({ command, args, size, say }: Required<RankLaunch>, rank: number, port: number): RankProcess {
  // What a launcher around this one has set is not about these ranks.
  const { JOB_COMPLETION_INDEX: _, TORCHELASTIC_USE_AGENT_STORE: __, ...environment } = process.env
  const place = { RANK: `${rank}`, WORLD_SIZE: `${size}`, LOCAL_RANK: `${rank}`, MASTER_ADDR: '127.0.0.1', MASTER_PORT: `${port}` }
  const child = spawn(command, args, {
    env: { ...environment, ...place },
    // A process group of its own: Ctrl-C comes through this process, once.
    detached: process.platform !== 'win32',
    stdio: rank === 0 ? ['ignore', 'inherit', 'inherit', 'ipc'] : ['ignore', 'ignore', 'pipe', 'ipc'],
  })
  const started: RankProcess = { rank, process: child, lastWords: '' }
  if (child.stderr) {
    createInterface(child.stderr).on('line', (line) => {
      if (line.trim() === '') return
      started.lastWords = line
      say(`rank ${rank}: ${line}`)
    })
  }
  return started
}

/** When it has ended and all that it said is here. A program that cannot be started is an error. */
async function endOf(child: ChildProcess): Promise<[number | null, NodeJS.Signals | null]> {
  return (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
}

function sayOnStderr(line: string): void {
  process.stderr.write(`${line}\n`)
}

/** A TCP port that nobody listens on. */
async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
