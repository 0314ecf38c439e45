import { parseHTML } from 'linkedom'

/** A document for drawing outside a browser. A new one each time, so that nothing is shared. */
export function svgDocument(): Document {
  return parseHTML('<!doctype html><html><body></body></html>').document as unknown as Document
}

/** The markup of an element that Plot made, ready to stand in a page. */
export function markupOf(element: Element): string {
  return element.outerHTML
}

/** Escapes text for HTML and SVG content and attribute values. */
export function escapeMarkup(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
