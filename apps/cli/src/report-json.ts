/** A report as JSON text for scripts. Infinity and NaN have no JSON form: they are written as strings of their names. */
export function reportJson(report: unknown): string {
  const plain = (_: string, value: unknown) => (typeof value === 'number' && !Number.isFinite(value) ? String(value) : value)
  return `${JSON.stringify(report, plain, 2)}\n`
}
