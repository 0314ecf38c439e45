/** Whether the environment makes an unavailable backend a failure: PHSA_REQUIRE_BACKEND holds its name. A browser has no environment. */
export function isRequiredBackend(name: string): boolean {
  const environment = (globalThis as { process?: { env?: Record<string, string | undefined> } }).process?.env
  return environment?.PHSA_REQUIRE_BACKEND === name
}
