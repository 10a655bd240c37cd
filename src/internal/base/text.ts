/**
 * Text from outside: what servers answer, what keys hold, how locks are named.
 *
 * It goes into errors, logs and terminals only cut, with everything escaped that
 * a reader would not see or that would change what is seen around it, and
 * without any secret that is known.
 */

const longest = 200

/** Control characters, direction marks, everything invisible, and spaces that are not the usual one. */
export const unprintable = /(?! )[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]/u

const hex = (character: string): string => {
  const code = character.codePointAt(0)!.toString(16)
  return code.length > 4 ? `\\u{${code}}` : `\\u${code.padStart(4, "0")}`
}

const short: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }

const escaped = (character: string): string =>
  unprintable.test(character) ? short[character] ?? hex(character) : character

/** Text that may hold anything, as one line of at most so many characters. */
export const untrusted = (text: string, atMost: number = longest): string =>
  text.length <= atMost && !unprintable.test(text) ? text : cut(text, atMost, escaped)

/** The same in quotation marks, as a name stands in a sentence. */
export const quoted = (text: string, atMost: number = longest): string =>
  `"${cut(text, atMost, (character) => /["\\]/.test(character) ? `\\${character}` : escaped(character))}"`

/** Looks only at what is shown: the text may be very long. */
const cut = (text: string, atMost: number, show: (character: string) => string): string => {
  let shown = ""
  for (const character of text) {
    const next = show(character)
    if (shown.length + next.length > atMost) return `${shown}…`
    shown += next
  }
  return shown
}

/** What is shorter would hide words that are no secrets. */
const shortestSecret = 4

/**
 * The text with `***` for every secret in it, also where it stands as in a URL.
 * The node's own id stays as it is, whatever is a part of it.
 */
export const masked = (text: string, secrets: ReadonlyArray<string>, id: string = ""): string => {
  const hidden = secrets
    .filter((secret) => secret.length >= shortestSecret)
    .flatMap((secret) => [secret, inUrl(secret)])
  if (hidden.length === 0) return text
  const words = [...hidden, id]
    .filter((word) => word !== "")
    // The longest first: one may be the beginning of another.
    .sort((a, b) => b.length - a.length)
    .map((word) => word.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"))
  return text.replace(new RegExp(words.join("|"), "g"), (found) => found === id ? id : "***")
}

const inUrl = (secret: string): string => {
  try {
    return encodeURIComponent(secret)
  } catch {
    // A lone surrogate cannot stand in a URL.
    return secret
  }
}
