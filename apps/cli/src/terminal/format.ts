/** 75 -> "1m 15s". @param seconds zero or more */
export function formatDuration(seconds: number): string {
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole}s`
  const minutes = Math.floor(whole / 60)
  return minutes < 60
    ? `${minutes}m ${String(whole % 60).padStart(2, '0')}s`
    : `${Math.floor(minutes / 60)}h ${String(minutes % 60).padStart(2, '0')}m`
}

/** 1234567 -> "1,234,567"; fractions are rounded away. */
export function formatCount(value: number): string {
  return Math.round(value).toLocaleString('en-US')
}

/** 0.1234 -> "12.3 %". */
export function formatPercent(share: number): string {
  return `${(share * 100).toFixed(1)} %`
}

/** Seconds with three digits that count, in the unit that suits them: 0.0123 -> "12.3 ms". */
export function formatSeconds(seconds: number): string {
  if (seconds < 1e-3) return `${(seconds * 1e6).toPrecision(3)} us`
  if (seconds < 1) return `${(seconds * 1e3).toPrecision(3)} ms`
  return seconds < 100 ? `${seconds.toPrecision(3)} s` : formatDuration(seconds)
}

/** Bytes in the unit that suits them: 1234567890 -> "1.15 GiB". */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10))
  return power === 0 ? `${bytes} bytes` : `${(bytes / 2 ** (10 * power)).toPrecision(3)} ${units[power]}`
}
