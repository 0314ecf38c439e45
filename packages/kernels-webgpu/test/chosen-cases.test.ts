import { casePattern, conformanceCases } from '@phsa/core/testing'
import { expect, test } from 'vitest'
import { BROWSER_CASES, LAVAPIPE_CASES, LEAST_CASES, NODE_CASES } from './chosen-cases.js'

const names = conformanceCases().map(({ name }) => name)

test.each(Object.entries({ BROWSER_CASES, LAVAPIPE_CASES, LEAST_CASES, NODE_CASES }))(
  'every pattern of %s matches a case',
  (_, patterns) => {
    expect(patterns.filter((pattern) => !names.some(casePattern(pattern)))).toEqual([])
  },
)
