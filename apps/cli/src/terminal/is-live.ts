import type { WriteStream } from 'node:tty'

/** Whether a stream takes cursor movements: a terminal, and nobody asked for plain text (NO_COLOR, TERM=dumb, CI). */
export function isLive(stream: Pick<WriteStream, 'isTTY'>, environment: NodeJS.ProcessEnv = process.env): boolean {
  const { NO_COLOR, TERM, CI } = environment
  return stream.isTTY === true && !NO_COLOR && TERM !== 'dumb' && !CI
}
