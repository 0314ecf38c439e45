import { describe, expect, test } from 'vitest'
import { runHere } from './run-phsa.js'

describe('phsa selftest', () => {
  test('runs the cases that match and reports them as JSON', async () => {
    const { code, stdout } = await runHere(['selftest', '--backend', 'reference', '--filter', 'f32/pool*', '--json'])
    expect(code).toBe(0)
    const { verdict, passed, cases } = JSON.parse(stdout) as { verdict: string; passed: number; cases: { name: string }[] }
    expect(verdict).toBe('passed')
    expect(passed).toBeGreaterThan(0)
    for (const { name } of cases) expect(name).toMatch(/^f32\/pool/)
  })

  test('a filter that matches nothing is bad usage, not a pass', async () => {
    const { code, stderr } = await runHere(['selftest', '--backend', 'reference', '--filter', 'nothing-like-this'])
    expect(code).toBe(2)
    expect(stderr).toContain('no case matches')
  })
})
