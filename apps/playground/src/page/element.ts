/** The element of the page with this id. @throws Error where index.html has none of this kind */
export function byId<Kind extends Element = HTMLElement>(id: string, kind?: abstract new () => Kind): Kind {
  const found = document.getElementById(id)
  if (found && (!kind || found instanceof kind)) return found as unknown as Kind
  throw new Error(`index.html has no ${kind?.name ?? 'element'} with the id ${id}.`)
}

/** A new element with attributes and children. */
export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Readonly<Record<string, string>> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name)
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value)
  made.append(...children)
  return made
}

/** A new element of a drawing. */
export function shape(name: string, attributes: Readonly<Record<string, string | number>> = {}, text?: string): SVGElement {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name)
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, String(value))
  if (text !== undefined) made.textContent = text
  return made
}
