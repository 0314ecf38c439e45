/** Has the browser keep a copy of the page for reloads without a network; where it keeps none (over plain HTTP from another machine, in some private windows) the page works as before. */
export async function keepForOffline(): Promise<void> {
  if (!('serviceWorker' in navigator)) return
  try {
    await navigator.serviceWorker.register(new URL('service-worker.js', document.baseURI))
  } catch (error) {
    console.info('This page is not kept for reloads without a network:', error)
  }
}
