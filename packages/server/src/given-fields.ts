/** The fields that say something: one that is there and undefined must not take the place of a default. */
export function givenFields<T extends object>(fields: T): T {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T
}
