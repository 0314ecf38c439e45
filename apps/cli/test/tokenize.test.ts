import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parquetWriteBuffer } from 'hyparquet-writer'
import { beforeAll, describe, expect, test } from 'vitest'
import { copyAssets, fixtures, runHere, runPhsa, temporaryFolder } from './run-phsa.js'

const folder = temporaryFolder()
const records = join(folder, 'a.jsonl')
const table = join(folder, 'b.parquet')
const tokens = join(folder, 'tokens')
const tokenizer = join(fixtures, 'tokenizer-8k', 'tokenizer.json')

describe('phsa tokenize', () => {
  beforeAll(() => {
    copyAssets()
    writeFileSync(records, '{"body":"A fox saw grapes, ripe and high."}\n{"body":7}\n{"body":"It leapt; it missed."}\n')
    const columnData = [{ name: 'body', data: ['"They are sour," said the fox, and left.'], type: 'STRING' as const }]
    writeFileSync(table, new Uint8Array(parquetWriteBuffer({ columnData })))
  })

  test('writes shards once, and says what was left out', async () => {
    const command = ['tokenize', records, table, '--text-field', 'body', '--tokenizer', tokenizer, '--out', tokens]
    const { code, stdout, stderr } = await runHere(command)
    expect(code).toBe(0)
    expect(stdout).toMatch(/^\d+ tokens of 3 documents; \d+ bytes in 1 shard in .*tokens\nleft out, being no documents: 1\n/)
    expect(stdout).toContain('a.jsonl line 2: its field "body" is of type number, not text')
    expect(stderr).toMatch(/^tokenizing: 1\/1 KiB, took 0s \| \d+ tokens/m)
    expect(readdirSync(tokens).sort()).toEqual(['lengths-00000.bin', 'manifest.json', 'tokens-00000.bin'])

    const again = await runHere([...command, '--json'])
    expect([again.code, again.stderr]).toEqual([0, ''])
    expect(JSON.parse(again.stdout)).toMatchObject({
      folder: tokens,
      reused: true,
      documents: 3,
      dtype: 'uint16',
      files: 2,
      shards: 1,
      badRecords: { count: 1, listed: [{ position: { file: 'a.jsonl', line: 2 } }] },
    })
  })

  test('refuses what differs, and bad records where it should', async () => {
    const other = await runHere(['tokenize', table, '--text-field', 'body', '--tokenizer', tokenizer, '--out', tokens])
    expect(other.code).toBe(2)
    expect(other.stderr).toContain('the number of sources is 2 there and 1 here')
    const strict = ['tokenize', records, '--text-field', 'body', '--out', join(folder, 'strict'), '--on-bad-record', 'fail']
    const { code, stderr } = await runHere(strict)
    expect(code).toBe(2)
    expect(stderr).toContain('a.jsonl line 2 is no document')
    expect(existsSync(join(folder, 'strict'))).toBe(false)
  })

  test('several processes write the same shards', async () => {
    const out = (name: string) => join(folder, name)
    const command = ['tokenize', records, table, '--text-field', 'body']
    const { code, stderr } = await runPhsa([...command, '--out', out('two'), '--workers', '2'])
    expect([code, stderr]).toEqual([0, expect.stringContaining('tokenizing: 1/1')])
    await runHere([...command, '--out', out('one'), '--workers', '1'])
    for (const name of ['tokens-00000.bin', 'lengths-00000.bin', 'manifest.json']) {
      expect(readFileSync(join(out('two'), name)).equals(readFileSync(join(out('one'), name))), name).toBe(true)
    }
  })

  test('Ctrl-C ends all of them and leaves nothing', async () => {
    const out = join(folder, 'stopped')
    const text = join(fixtures, 'text', 'train.txt.gz')
    const { code, stderr } = await runPhsa(['tokenize', text, '--out', out, '--workers', '2'], { signalAt: 'tokenizing: ' })
    expect(code).toBe(130)
    expect(stderr).toContain('nothing was left')
    expect(readdirSync(folder).filter((name) => name.includes('stopped'))).toEqual([])
  })
})
