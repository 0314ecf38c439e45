import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { root } from '../command.mjs'

const page = readFileSync(join(root, 'docs/troubleshooting.md'), 'utf8')

const folders = [...readdirSync(join(root, 'packages')).map((name) => `packages/${name}`), 'apps/cli']
const sources = folders
  .filter((name) => existsSync(join(root, name, 'package.json')))
  .flatMap((name) => {
    const folder = join(root, name, 'src')
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
    return files.map((file) => ({ name, text: readFileSync(join(folder, file), 'utf8') }))
  })
const found = (pattern: RegExp, folder = '') =>
  sources.filter(({ name }) => name.startsWith(folder)).flatMap(({ text }) => [...text.matchAll(pattern)].map(([, word]) => word))

// ApiError extends Error alone: of it the page has the answers.
const classes = found(/class (\w+Error) extends (?!Error\b)/g)
const codes = [...new Set(found(/^ {4}super\('([a-z-]+)', message/gm))]
const answers = [...new Set(found(/\bcode: (?:[^\n]*[?] )?'([a-z_]+)'/g, 'packages/server'))]

test('there are errors to look for', () => {
  expect(classes.length).toBeGreaterThan(20)
  expect(codes).toContain('backend-lost')
  expect(answers).toContain('context_length_exceeded')
})

test.each(classes)('%s is named', (name) => {
  expect(page).toContain(`\`${name}\``)
})

test.each(codes)('%s has a cause and a remedy', (code) => {
  const [, section] = page.split(`\n### ${code}\n`)
  const [own] = section?.split(/\n##/) ?? []
  expect(own, `docs/troubleshooting.md has no heading for the code ${code}`).toBeDefined()
  expect(own).toMatch(/\n\*\*Cause\.\*\* \S[^\n]+\n\n\*\*Remedy\.\*\* \S/)
})

test.each(answers)('the answer %s has a row', (code) => {
  expect(page).toMatch(new RegExp(`^\\| \\d{3} \\| \`${code}\` \\| \\S`, 'm'))
})

test('nothing is listed that is not thrown', () => {
  const headings = [...page.matchAll(/^### (\S+)$/gm)].map(([, code]) => code)
  expect(headings.sort()).toEqual([...codes].sort())
  const rows = [...page.matchAll(/^\| \d{3} \| `(\w+)`/gm)].map(([, code]) => code)
  expect(rows.filter((code) => !answers.includes(code))).toEqual([])
})
