import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { selectionPolicy } from '@phsa/core'
import { generate, loadModel, nextTokenBatch } from '@phsa/model'
import { tfjs } from '@phsa/kernels-tfjs'
const t0=performance.now()
let cpu0=process.cpuUsage();const at=()=>{const c=process.cpuUsage(cpu0);cpu0=process.cpuUsage();return ((performance.now()-t0)/1000).toFixed(1)+' cpu '+((c.user+c.system)/1e6).toFixed(1)}
const backend = await tfjs()
const { model, tokenizer, punctuation } = await loadModel('/work/main/apps/playground/public/model', { backend })
console.log(at(), backend.name, backend.device, model.parameterCount)
const text = gunzipSync(readFileSync('/work/main/fixtures/text/valid.txt.gz')).toString('utf8').split(/\n\n\n+/).find((d)=>d.includes('Hartfield'))!
const all = tokenizer!.encode(text)
const N = Number(process.argv[2] ?? 8192)
const ids = all.subarray(0,N)
console.log(at(), all.length)
for (const name of ['phsa','mean-pool','dense'] as const) {
  const attention = {policy: selectionPolicy(name), phsa: model.phsa}
  let s=performance.now()
  const out = model.loss(nextTokenBatch([ids], punctuation!), attention)
  const [loss] = await backend.memory.download(out.loss)
  out.loss.dispose(); out.tokenLosses.dispose()
  console.log(at(), name, 'ppl', Math.exp(loss), 'in', ((performance.now()-s)/1000).toFixed(1))
  s=performance.now(); let first=0; const got:number[]=[]
  for await (const id of generate(model, ids, {maxNewTokens: 32, attention, punctuation, sampling:{temperature:0.8, topK:40, seed:1}})) { if(!first) first=performance.now(); got.push(id)}
  console.log(at(), name, 'prompt', ((first-s)/1000).toFixed(1), 'per token', ((performance.now()-first)/1000/31).toFixed(3), tokenizer!.decode(got))
}
console.log(process.memoryUsage().rss/2**20)
