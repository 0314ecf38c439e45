/** A report as JSON text for scripts. Infinity and NaN have no JSON form: they are written as strings of their names. */
export function reportJson(report: unknown): string {
  return `${JSON.stringify(report, nameSpecialNumbers, 2)}\n`
}

/** The same on one line, for reports that come one after the other. */
export function reportJsonLine(report: unknown): string {
  return `${JSON.stringify(report, nameSpecialNumbers)}\n`
}

function nameSpecialNumbers(_: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value
}
