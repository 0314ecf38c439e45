const whole = new Intl.NumberFormat('en')
const precise = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 })

/** 12345 as 12,345. */
export function count(value: number): string {
  return whole.format(value)
}

/** 0.1234 as 12.3 %. @param digits after the point */
export function percent(share: number, digits = 1): string {
  const value = share * 100
  return `${value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })} %`
}

/** Three significant digits: 0.0123, 1.23, 123. */
export function significant(value: number): string {
  return precise.format(value)
}
