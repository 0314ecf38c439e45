import { formatCount, formatPercent, formatSeconds } from '../terminal/format.js'
import { formatTable } from '../terminal/table.js'
import type { Measurement } from './bench-case.js'
import type { BenchedBackend, BenchReport, BenchResult } from './bench-report.js'

type Available = Extract<BenchedBackend, { available: true }>

/** Backends side by side: a row a figure, median with the range of the runs; under it what could not be measured, and why. */
export function benchTable({ backends, leftOut }: Pick<BenchReport, 'backends' | 'leftOut'>): string {
  const available = backends.filter((backend): backend is Available => backend.available)
  const titles = [...new Set(available.flatMap(({ results }) => results.map((result) => result.case)))]
  const rows = titles.flatMap((title) => rowsOf(title, available))
  const table = rows.length === 0 ? [] : [formatTable(['', ...available.map(({ name }) => name)], rows)]
  return [...table, '', ...backends.flatMap(notes), ...leftOut.map(({ name, reason }) => `${name}: left out: ${reason}`)].join('\n')
}

function rowsOf(title: string, backends: readonly Available[]): string[][] {
  const results = backends.map(({ results }) => results.find((result) => result.case === title))
  const names = [...new Set(results.flatMap((result) => result?.measurements.map(({ name }) => name) ?? []))]
  if (names.length === 0) return [[title, ...results.map((result) => result?.outcome ?? '')]]
  return names.flatMap((name) => {
    const found = results.map((result) => result?.measurements.find((measurement) => measurement.name === name))
    const row = (label: string, cell: (measurement: Measurement) => string | undefined) => {
      const cells = found.map((measurement, index) => (measurement ? cell(measurement) : label === '' ? results[index]?.outcome : ''))
      return cells.every((text) => text === undefined || text === '')
        ? []
        : [[`${title}${results.some((result) => result?.group === name) ? '' : ` ${name}`}${label}`, ...cells.map((text) => text ?? '')]]
    }
    return [
      ...row('', ({ timing }) => `${formatSeconds(timing.median)} (${formatSeconds(timing.least)}..${formatSeconds(timing.most)})`),
      ...row(', tokens/s', ({ tokens, timing }) => (tokens === undefined ? undefined : formatCount(tokens / timing.median))),
      ...row(', GFLOP/s', ({ flops, timing }) => (flops === undefined ? undefined : rate(flops / timing.median / 1e9))),
      ...row(', in attention', ({ attentionShare }) => (attentionShare ? formatPercent(attentionShare.share) : undefined)),
    ]
  })
}

function rate(gflops: number): string {
  return gflops >= 100 ? formatCount(gflops) : gflops.toPrecision(3)
}

function notes(backend: BenchedBackend): string[] {
  if (!backend.available) return [`${backend.name}: not available: ${backend.reason}`]
  return [`${backend.name}: ${backend.device}`, ...backend.results.flatMap((result) => complaints(backend.name, result))]
}

function complaints(backend: string, { case: title, outcome, reason, gate }: BenchResult): string[] {
  if (outcome === 'measured') return []
  if (outcome !== 'wrong') return [`${backend}: ${title} ${outcome}: ${reason}`]
  const failed = gate?.failed.map(({ name, measured, bound }) => `${name} ${measured.toExponential(2)}, allowed ${bound.toExponential(2)}`)
  return [`${backend}: ${title} is WRONG, so there is no figure: ${failed?.join('; ') || 'nothing could be compared'}`]
}
