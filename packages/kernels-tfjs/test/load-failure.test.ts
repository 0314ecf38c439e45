import { expect, test } from 'vitest'
import { importFailure, startFailure } from '../src/engines/load-failure.js'

const PACKAGE = '@tensorflow/tfjs-node'
const withCode = (code: string, message: string) => Object.assign(new Error(message), { code })

test.each([
  ['a missing package', withCode('ERR_MODULE_NOT_FOUND', `Cannot find package '${PACKAGE}' imported from /a/b.js`), /^not installed$/],
  [
    'a missing package under Vite',
    new Error(`Could not resolve "${PACKAGE}/dist/version.js" imported by "x". Is it installed?`),
    /^not installed$/,
  ],
  [
    'something missing that it needs',
    withCode('MODULE_NOT_FOUND', "Cannot find module 'tar'\nRequire stack:\n- /a/b.js"),
    /^installed, but does not load: Cannot find module 'tar'$/,
  ],
  [
    'another package of a like name',
    withCode('ERR_MODULE_NOT_FOUND', `Cannot find package '${PACKAGE}-gpu' imported from /a/b.js`),
    /^installed, but does not load/,
  ],
  [
    'no native part',
    new Error('The Node.js native addon module (tfjs_binding.node) can not be found at path: /a/b.node. \nPlease run ...'),
    /^installed without its native part: .*npm rebuild @tensorflow\/tfjs-node$/,
  ],
  [
    'no library',
    withCode('ERR_DLOPEN_FAILED', 'libtensorflow.so.2: cannot open shared object file: No such file or directory'),
    /^installed, but does not load: libtensorflow.so.2: cannot open shared object file/,
  ],
  ['no error at all', 'thrown text', /^installed, but does not load: thrown text$/],
])('%s', (_, error, expected) => {
  expect(importFailure(PACKAGE, error)).toMatch(expected)
})

test('what Node 23 removed is named', () => {
  expect(startFailure(PACKAGE, new TypeError('(0 , util_1.isNullOrUndefined) is not a function'))).toMatch(
    /^does not start on Node [0-9.]+: it needs util.isNullOrUndefined, which Node 23 removed$/,
  )
})

test('a reason is one line of readable length', () => {
  const reason = startFailure(PACKAGE, new Error(`${'x'.repeat(1000)}\nat somewhere`))
  expect(reason).toMatch(/^does not start: x{200}\.\.\.$/)
})
