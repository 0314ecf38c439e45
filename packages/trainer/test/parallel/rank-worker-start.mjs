// A thread does not take over the loader of the one that starts it.
import { register } from 'tsx/esm/api'

register()
await import(new URL('rank-worker.ts', import.meta.url).href)
