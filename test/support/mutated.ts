/**
 * Modules with exact pieces of source changed while they are loaded, by Node itself. Nothing in
 * `src/` knows of it. A piece that is not there, or there more than once, is an error.
 */
import { registerHooks } from "node:module"

export interface Edit {
  /** From the root of the repository. */
  readonly file: string
  readonly piece: string
  readonly instead: string
}

const root = new URL("../../", import.meta.url)
let loads = 0

/** Loads the modules, and all of the repository under them, apart from those that are loaded already. */
export const loadMutated = async (
  edits: ReadonlyArray<Edit>,
  modules: ReadonlyArray<URL>
): Promise<ReadonlyArray<unknown>> => {
  const query = `?mutation=${++loads}`
  const made = new Set<Edit>()
  const hooks = registerHooks({
    resolve: (specifier, context, next) => {
      const found = next(specifier, context)
      const isOurs = found.url.startsWith(root.href) && !found.url.includes("/node_modules/")
      return context.parentURL?.endsWith(query) === true && isOurs ? { ...found, url: found.url + query } : found
    },
    load: (url, context, next) => {
      if (!url.endsWith(query)) return next(url, context)
      const loaded = next(url.slice(0, -query.length), context)
      let source = typeof loaded.source === "string"
        ? loaded.source
        : Buffer.from(loaded.source as Uint8Array).toString()
      for (const edit of edits) {
        if (url !== new URL(edit.file, root).href + query) continue
        const { length } = source.split(edit.piece)
        if (length !== 2) throw new Error(`${edit.file} has ${length - 1} times what is to be mutated: ${edit.piece}`)
        source = source.replace(edit.piece, () => edit.instead)
        made.add(edit)
      }
      return { ...loaded, source }
    }
  })
  const loaded: Array<unknown> = []
  try {
    for (const module of modules) loaded.push(await import(module.href + query))
  } finally {
    hooks.deregister()
  }
  const missing = edits.find((edit) => !made.has(edit))
  if (missing !== undefined) throw new Error(`${missing.file} was not loaded`)
  return loaded
}
