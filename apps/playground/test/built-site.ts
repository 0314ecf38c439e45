import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { reference } from '@phsa/core'
import { DecoderModel, saveModel } from '@phsa/model'
import { type ServedFolder, serveFolder } from '@phsa/server'
import { build } from 'vite'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** The page as it is built, with a model of random weights: what it shows means nothing, but the way there is the same. */
export interface BuiltSite extends ServedFolder {
  readonly folder: string
}

/** Builds the page into a folder of its own and serves it; with PHSA_BUILT=1 it is what `npm test` has just built. */
export async function buildSite(): Promise<BuiltSite> {
  const folder = mkdtempSync(join(tmpdir(), 'phsa-playground-'))
  if (process.env.PHSA_BUILT === '1') cpSync(here('../dist'), folder, { recursive: true })
  else await build({ configFile: here('../vite.config.ts'), logLevel: 'error', build: { outDir: folder, emptyOutDir: true } })
  await writeModel(join(folder, 'model'))
  const served = await serveFolder({ folder, port: 0 })
  return {
    url: served.url,
    folder,
    async close() {
      await served.close()
      rmSync(folder, { recursive: true })
    },
  }
}

async function writeModel(folder: string): Promise<void> {
  const backend = await reference()
  const config = {
    vocabSize: 8192,
    hiddenSize: 32,
    intermediateSize: 64,
    layers: 2,
    heads: 2,
    kvHeads: 1,
    headDim: 32,
    rmsNormEpsilon: 1e-6,
    ropeTheta: 10_000,
    maxPositions: 1024,
    tieWordEmbeddings: true,
    eosTokenIds: [0],
  }
  const model = DecoderModel.create({ config, backend, seed: 1 })
  rmSync(folder, { recursive: true, force: true })
  await saveModel(model, folder, { type: 'bf16', tokenizerFrom: here('../../../fixtures/tokenizer-8k') })
  model.dispose()
  backend.dispose()
  // What the build says that there is must be there.
  cpSync(here('../public/model/generation_config.json'), join(folder, 'generation_config.json'))
}
