// `node --import tsx --import ./scripts/thread-imports.mjs`: TypeScript in worker threads too, where tsx by itself does nothing under Node 20.
import { isMainThread } from 'node:worker_threads'
import { register } from 'tsx/esm/api'

if (!isMainThread) register()
