import { availableParallelism, cpus, loadavg, totalmem } from 'node:os'

/** The machine in words, for reports. Plain JSON. */
export interface Machine {
  readonly node: string
  readonly platform: string
  readonly cpu: string
  /** Cores that this process may use. */
  readonly cores: number
  readonly memoryGiB: number
}

/** What this process runs on. */
export function machine(): Machine {
  return {
    node: process.versions.node,
    platform: `${process.platform} ${process.arch}`,
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Number((totalmem() / 2 ** 30).toFixed(1)),
  }
}

/** Runnable processes over the last 1, 5 and 15 minutes; zeros on Windows. */
export function loadAverage(): number[] {
  return loadavg().map((load) => Number(load.toFixed(2)))
}

/** A file name for results of a machine, such as `intel-xeon-platinum-8481c-2-cores`. */
export function machineSlug({ cpu, cores }: Pick<Machine, 'cpu' | 'cores'>): string {
  const words = cpu
    .toLowerCase()
    // Trademarks and clock rates: no part of the name.
    .replace(/\((?:r|tm)\)|@.*$|\b(?:cpu|processor)\b/g, ' ')
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
  return `${words || 'unknown'}-${cores}-cores`
}
