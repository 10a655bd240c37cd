/**
 * Makes untrusted text safe to print: replies of servers, values of keys, names of locks.
 *
 * Before it reaches an error, a log or a terminal it is truncated, characters that
 * are invisible or affect the text around them are escaped, and known secrets are
 * masked.
 */

const longest = 200

/** Control characters, direction marks, other invisible characters, and every space but U+0020. */
export const unprintable = /(?! )[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]/u

const hex = (character: string): string => {
  const code = character.codePointAt(0)!.toString(16)
  return code.length > 4 ? `\\u{${code}}` : `\\u${code.padStart(4, "0")}`
}

const short: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }

const escaped = (character: string): string =>
  unprintable.test(character) ? short[character] ?? hex(character) : character

/** Arbitrary text as a single line of at most `atMost` characters. */
export const untrusted = (text: string, atMost: number = longest): string =>
  text.length <= atMost && !unprintable.test(text) ? text : cut(text, atMost, escaped)

/** Like `untrusted`, but in quotation marks, for a name within a sentence. */
export const quoted = (text: string, atMost: number = longest): string =>
  `"${cut(text, atMost, (character) => /["\\]/.test(character) ? `\\${character}` : escaped(character))}"`

/** Reads no further than what is shown, because the text may be very long. */
const cut = (text: string, atMost: number, show: (character: string) => string): string => {
  let shown = ""
  for (const character of text) {
    const next = show(character)
    if (shown.length + next.length > atMost) return `${shown}…`
    shown += next
  }
  return shown
}

/** Masking shorter secrets would hide ordinary words. */
const shortestSecret = 4

/**
 * Replaces every secret in the text with `***`, whether plain or URL-encoded. The
 * node's own id is left intact, even if it contains a secret.
 */
export const masked = (text: string, secrets: ReadonlyArray<string>, id: string = ""): string => {
  const hidden = secrets
    .filter((secret) => secret.length >= shortestSecret)
    .flatMap((secret) => [secret, inUrl(secret)])
  if (hidden.length === 0) return text
  const words = [...hidden, id]
    .filter((word) => word !== "")
    // Longest first, because one may be a prefix of another.
    .sort((a, b) => b.length - a.length)
    .map((word) => word.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"))
  return text.replace(new RegExp(words.join("|"), "g"), (found) => found === id ? id : "***")
}

const inUrl = (secret: string): string => {
  try {
    return encodeURIComponent(secret)
  } catch {
    // A lone surrogate cannot be URL-encoded.
    return secret
  }
}

export const isHostAndPort = (text: string) => /^[a-z\d][a-z\d.-]*:\d{1,5}$/i.test(text)

/** A URL, or what should be one: everything is masked that is not clearly the scheme or the host. */
export const maskPassword = (input: string): string => {
  if (isHostAndPort(input)) return input
  const scheme = /^[a-z][a-z0-9+.-]*:(?:\/\/)?/i.exec(input)?.[0] ?? ""
  const host = input.slice(Math.max(scheme.length, input.lastIndexOf("@") + 1))
  const hasSecret = input.includes("@")
  // Without an "@" the password may be in place of the port: only what parses as a URL has none.
  if (!hasSecret && scheme.endsWith("//") && URL.canParse(input) && !/[?#]/.test(input)) return input
  return `${scheme}***${hasSecret && /^[\w.:[\]/-]*$/.test(host) ? `@${host}` : ""}`
}
