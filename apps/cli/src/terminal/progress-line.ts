/** What a progress bar says. */
export interface ProgressState {
  readonly label: string
  readonly done: number
  readonly total: number
  /** What is counted, where it is no steps: KiB for instance. */
  readonly unit?: string
  /** Time left, in words. */
  readonly left: string
  /** Parts with " | " between, the most important first. */
  readonly note: string
}

/** Widths of the bar that are tried, the widest first. */
const BAR_WIDTHS = [24, 12, 6, 0]

/**
 * A progress bar in one line that fits: a narrow terminal gets a shorter bar, then none, then fewer parts of the note, the last ones first.
 * @param columns width of the terminal
 */
export function progressLine({ label, done, total, unit, left, note }: ProgressState, columns: number): string {
  const notes = note === '' ? [] : note.split(' | ')
  const line = (bar: number, parts: number) => {
    const drawn = bar === 0 ? label : `${label.padEnd(10)} ${drawBar(total === 0 ? 1 : done / total, bar)}`
    return [`${drawn} ${done}/${total}${inUnit(unit)}`, `${left} left`, ...notes.slice(0, parts)].join(' | ')
  }
  const tries = [...BAR_WIDTHS.map((bar) => line(bar, notes.length)), ...notes.map((_, dropped) => line(0, notes.length - 1 - dropped))]
  return tries.find((text) => text.length <= columns) ?? tries[tries.length - 1].slice(0, columns)
}

/** A unit as it follows a number. */
export function inUnit(unit: string | undefined): string {
  return unit === undefined ? '' : ` ${unit}`
}

function drawBar(share: number, width: number): string {
  const filled = Math.round(Math.min(1, Math.max(0, share)) * width)
  return '█'.repeat(filled) + '░'.repeat(width - filled)
}
