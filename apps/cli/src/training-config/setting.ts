import { z } from 'zod'

/** What an issue of a schema says: the words after "it must be". */
const must = (allowed: string) => ({ error: allowed })

/** An integer within bounds. */
export function integer(least: number, most = Number.MAX_SAFE_INTEGER) {
  const allowed = must(most === Number.MAX_SAFE_INTEGER ? `an integer of at least ${least}` : `an integer from ${least} to ${most}`)
  return z.int(allowed).min(least, allowed).max(most, allowed)
}

/** A number within bounds, both allowed. */
export function number(least: number, most: number) {
  const allowed = must(`a number from ${least} to ${most}`)
  return z.number(allowed).min(least, allowed).max(most, allowed)
}

/** A number above a bound, up to another. */
export function numberAbove(bound: number, most: number) {
  const allowed = must(most === Number.MAX_VALUE ? `a number above ${bound}` : `a number above ${bound}, up to ${most}`)
  return z.number(allowed).gt(bound, allowed).max(most, allowed)
}

/** One of some names. */
export function oneOf<const Name extends string>(names: readonly Name[]) {
  return z.enum(names, must(`one of ${names.join(', ')}`))
}

/** true or false. */
export function flag() {
  return z.boolean(must('true or false'))
}

/** A text that is not empty. @param what what it stands for */
export function text(what: string) {
  return z.string(must(what)).min(1, must(what))
}

/** A path; where the file says a relative one, it is relative to the file. @param what what lies there */
export function path(what: string) {
  return text('a path').describe(what)
}

/** Settings under one name. What is none of them is an issue that lists them. */
export function section<const Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  const names = Object.keys(shape)
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'unrecognized_keys' ? names.join(', ') : `settings by name: ${names.join(', ')}`),
  })
}
