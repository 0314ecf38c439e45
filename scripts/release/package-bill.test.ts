import { expect, test } from 'vitest'
import { packageBill } from './package-bill.js'

const project = {
  metadata: { component: { 'bom-ref': 'consumer@0.0.0', name: 'consumer' } },
  components: [
    {
      'bom-ref': 'phsa@0.1.0',
      name: 'phsa',
      version: '0.1.0',
      purl: 'pkg:npm/phsa@0.1.0?download_url=http://localhost:1/phsa.tgz',
      hashes: [{ alg: 'SHA-512', content: '00' }],
      externalReferences: [{ type: 'distribution', url: 'http://localhost:1/phsa.tgz' }],
    },
    { 'bom-ref': 'yaml@2.9.1', name: 'yaml', version: '2.9.1', purl: 'pkg:npm/yaml@2.9.1', hashes: [{ alg: 'SHA-512', content: '11' }] },
  ],
  dependencies: [
    { ref: 'consumer@0.0.0', dependsOn: ['phsa@0.1.0'] },
    { ref: 'phsa@0.1.0', dependsOn: ['yaml@2.9.1'] },
  ],
}

test("a bill is the package's, without what only the local registry knew", () => {
  expect(packageBill(project, { name: 'phsa', version: '0.1.0' }, ['phsa'])).toEqual({
    metadata: { component: { 'bom-ref': 'phsa@0.1.0', name: 'phsa', version: '0.1.0', purl: 'pkg:npm/phsa@0.1.0' } },
    components: [project.components[1]],
    dependencies: [project.dependencies[1]],
  })
})

test('a package that is not there has no bill', () => {
  expect(() => packageBill(project, { name: 'phsa', version: '0.2.0' }, ['phsa'])).toThrow('no phsa 0.2.0')
})
