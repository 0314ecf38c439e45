import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { prepareFile, prepareFolder, requireFolder } from '../src/files/prepare-folder.js'
import { writeWholeFile } from '../src/files/write-whole-file.js'
import { fixtures, runHere, temporaryFolder } from './run-phsa.js'

describe('where results are written', () => {
  const folder = temporaryFolder()

  test('a folder is made with all that it lies in, and nothing is left in it', async () => {
    await prepareFolder(join(folder, 'a/b/c'))
    expect(readdirSync(join(folder, 'a/b/c'))).toEqual([])
  })

  test('a file in the way is named', async () => {
    writeFileSync(join(folder, 'file'), '')
    await expect(prepareFolder(join(folder, 'file/below'))).rejects.toThrow(`${join(folder, 'file')} exists already and is no folder`)
  })

  test('a folder that could be made is found without making it', async () => {
    expect(await requireFolder(join(folder, 'x/y'))).toBe(folder)
    expect(existsSync(join(folder, 'x'))).toBe(false)
    await expect(requireFolder(join(folder, 'file/below'))).rejects.toThrow(`${join(folder, 'file')} exists already and is no folder`)
  })

  test('a folder in the place of a file is named', async () => {
    mkdirSync(join(folder, 'results'))
    await expect(prepareFile(join(folder, 'results'))).rejects.toThrow('is a folder; give a file')
  })

  test('a file is replaced as a whole', async () => {
    const path = join(folder, 'results/file.json')
    await writeWholeFile(path, 'long content')
    await writeWholeFile(path, 'new')
    expect(readFileSync(path, 'utf8')).toBe('new')
    expect(readdirSync(join(folder, 'results'))).toEqual(['file.json'])
  })

  test('a write that fails leaves neither the file nor a part of it', async () => {
    await expect(writeWholeFile(join(folder, 'a'), 'text')).rejects.toThrow()
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([])
  })
})

// Only Linux has a file system that refuses folders as "not found", which keeps Node's own recursive mkdir busy for ever.
describe.runIf(existsSync('/proc/self'))('a file system that takes no folders', () => {
  test.each([
    ['demo', '--out', '/proc/phsa.json'],
    ['train', join(fixtures, 'text/valid.txt.gz'), '--out', '/proc'],
    ['train', join(fixtures, 'text/valid.txt.gz'), '--out', '/proc/phsa/model'],
    ['bench', '--out', '/proc/phsa.json'],
    ['eval', 'text.txt', '--model', 'm', '--out', '/proc/phsa/result.json'],
  ])('%s %s %s ends at once with a clear message', async (...args) => {
    const { code, stderr } = await runHere(args)
    expect(code).toBe(2)
    expect(stderr).toMatch(/^phsa: (?:--out: )?\/proc takes no (files|folders) \(\w+\); give --out a place that can be written to\.\n$/)
  })
})
