import type { Method } from '../lab-contract.js'

/** What the page calls the methods. */
export const METHOD_NAMES: Readonly<Record<Method, string>> = {
  oracle: 'True attention',
  phsa: 'PHSA',
  'mean-pool': 'Mean-pool',
  'infllm-v2': 'InfLLM v2',
}
