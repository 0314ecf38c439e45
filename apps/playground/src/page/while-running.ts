/**
 * Makes a call that reports what it is doing, and passes on what it reports until it has ended: a worker's reports come by a way of their own, and one
 * that comes after the result would say that it is still being worked on.
 */
export async function whileRunning<Report, Result>(
  onReport: (report: Report) => void,
  call: (report: (report: Report) => void) => Promise<Result>,
): Promise<Result> {
  let isRunning = true
  try {
    return await call((report) => {
      if (isRunning) onReport(report)
    })
  } finally {
    isRunning = false
  }
}
