/** What `run` throws; fails the test when it throws nothing. */
export function errorOf(run: () => unknown): Error {
  try {
    run()
  } catch (error) {
    if (error instanceof Error) return error
    throw new Error('something that is no Error was thrown', { cause: error })
  }
  throw new Error('nothing was thrown')
}
