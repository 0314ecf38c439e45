import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test, vi } from 'vitest'
import { runPlayground } from '../src/commands/playground.js'
import { runHere, temporaryFolder } from './run-phsa.js'

test('it prints its address, serves the page, and ends at a signal', async () => {
  const folder = temporaryFolder()
  writeFileSync(join(folder, 'index.html'), '<!doctype html><title>page</title>')
  const write = vi.spyOn(process.stdout, 'write').mockReturnValue(true)
  const running = runPlayground({ port: 0, json: true, folder })
  await vi.waitFor(() => expect(write).toHaveBeenCalled())
  const { url } = JSON.parse(String(write.mock.calls[0][0]))
  write.mockRestore()
  expect(await (await fetch(url)).text()).toContain('<title>page</title>')
  process.emit('SIGTERM')
  expect(await running).toBe(0)
  await expect(fetch(url)).rejects.toThrow()
})

const pages = fileURLToPath(new URL('../assets/playground/index.html', import.meta.url))
test.skipIf(existsSync(pages))('where the pages are not built it says how to build them (they are, here)', async () => {
  const { code, stderr } = await runHere(['playground', '--port', '0'])
  expect(code).toBe(2)
  expect(stderr).toContain('npm run build')
})
