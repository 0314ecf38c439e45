import { color } from './palette.js'

/** Size and margins of all charts over a number. */
export const CHART_FRAME = { width: 460, height: 290, marginLeft: 52, marginRight: 16, marginBottom: 42, marginTop: 26 } as const
/** Text of all charts. */
export const CHART_STYLE = { background: 'transparent', color: color.text, fontSize: '12px', fontFamily: 'inherit' } as const
