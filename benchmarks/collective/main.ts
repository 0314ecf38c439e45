// All-reduce of @phsa/kernels-cuda on the first two GPUs of this machine, beside NCCL by itself, and what becomes of a rank when the other is killed or
// hangs: `bench-collective` of the offline bundle starts it. Under a minute.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { benchRank, type RankReport } from './bench-rank.js'

const SIZE = 2
/** A rank counts as silent after so many seconds here; the default is 30. */
const SILENT_AFTER = 5
/** Seconds that a run of both ranks may take. */
const LIMIT = 50

const { values } = parseArgs({
  options: {
    out: { type: 'string' },
    commit: { type: 'string' },
    small: { type: 'boolean', default: false },
    rank: { type: 'string', multiple: true },
    timeout: { type: 'string', default: '30' },
  },
})
const { out, commit, small, rank, timeout } = values

if (rank) {
  await benchRank({ ports: rank.map(Number), small, timeoutSeconds: Number(timeout) })
} else if (out === undefined) {
  console.error('usage: --out FILE [--commit HASH] [--small]')
  process.exit(2)
} else {
  const killed = await runGroup('SIGKILL', 2, 30)
  const hung = await runGroup('SIGSTOP', 1, SILENT_AFTER)
  writeFileSync(out, `${JSON.stringify({ commit, ...summary(killed.reports), killed: killed.end, hung: hung.end }, undefined, 2)}\n`)
  const isRight = [killed, hung].every(({ end }) => end.code === 0 && end.seconds < 60 && /rank 1 of 2/.test(end.reason))
  const faults = killed.reports.flatMap((report) => (report.kind === 'sums' ? report.faults : []))
  process.exitCode = isRight && faults.length === 0 && killed.reports.some(({ kind }) => kind === 'overlap') ? 0 : 1
}

/** How rank 0 ended after something happened to rank 1. */
interface GroupEnd {
  readonly signal: NodeJS.Signals
  readonly code: number | null
  /** What ended it, where it did not end by itself. */
  readonly crash: NodeJS.Signals | null
  /** From the signal to the end of the process. */
  readonly seconds: number
  readonly reason: string
  readonly download: string
}

/** Runs both ranks until both wait, then sends the signal to rank 1. @returns what rank 0 said */
async function runGroup(
  signal: NodeJS.Signals,
  portCount: number,
  timeoutSeconds: number,
): Promise<{ reports: RankReport[]; end: GroupEnd }> {
  const ports = await Promise.all(Array.from({ length: portCount }, freePort))
  const ranks = Array.from({ length: SIZE }, (_, index) => startRank(index, ports, timeoutSeconds))
  const limit = setTimeout(() => {
    console.error(`the ranks took more than ${LIMIT} s`)
    for (const { process } of ranks) process.kill('SIGKILL')
  }, 1000 * LIMIT)
  await Promise.all(ranks.map(({ waiting }) => waiting))
  const [survivor, victim] = ranks
  const started = performance.now()
  victim.process.kill(signal)
  const [code, crash] = await survivor.end
  const seconds = (performance.now() - started) / 1000
  victim.process.kill('SIGKILL')
  clearTimeout(limit)
  const lost = survivor.reports.find((report) => report.kind === 'lost')
  const end = { signal, code, crash, seconds, reason: lost?.reason ?? 'it gave none', download: lost?.download ?? 'it said nothing' }
  console.log(JSON.stringify(end))
  return { reports: survivor.reports, end }
}

interface RankProcess {
  readonly process: ChildProcess
  readonly reports: RankReport[]
  /** Settles when it waits for the other's failure, or has ended. */
  readonly waiting: Promise<void>
  readonly end: Promise<[number | null, NodeJS.Signals | null]>
}

function startRank(index: number, ports: readonly number[], timeoutSeconds: number): RankProcess {
  const place = { RANK: `${index}`, WORLD_SIZE: `${SIZE}`, LOCAL_RANK: `${index}` }
  const flags = [...ports.flatMap((port) => ['--rank', `${port}`]), '--timeout', `${timeoutSeconds}`, ...(small ? ['--small'] : [])]
  const child = spawn(process.execPath, [...process.execArgv, process.argv[1], ...flags], {
    env: { ...process.env, ...place },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const reports: RankReport[] = []
  const waiting = new Promise<void>((resolve) => {
    createInterface(child.stdout).on('line', (line) => {
      if (index === 0) console.log(line)
      const report = readReport(line)
      if (report) reports.push(report)
      if (report?.kind === 'waiting') resolve()
    })
    child.on('close', () => resolve())
  })
  return { process: child, reports, waiting, end: once(child, 'close') as RankProcess['end'] }
}

/** NCCL may print lines of its own. */
function readReport(line: string): RankReport | undefined {
  return line.startsWith('{"kind":') ? (JSON.parse(line) as RankReport) : undefined
}

function summary(reports: readonly RankReport[]) {
  const joined = reports.find((report) => report.kind === 'joined')
  return {
    device: joined?.device,
    ranks: SIZE,
    nccl: joined?.nccl,
    joinedInSeconds: joined?.seconds,
    faults: reports.flatMap((report) => (report.kind === 'sums' ? report.faults : [])),
    transfers: reports.flatMap((report) => (report.kind === 'transfer' ? [report.row] : [])),
    overlap: reports.flatMap((report) => (report.kind === 'overlap' ? [report.overlap] : [])).at(0),
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
