/**
 * Lets a program import the library as its users do, and get what is in `src`: for the
 * examples in processes of their own, by `--import`.
 */
import { registerHooks } from "node:module"

registerHooks({
  resolve(specifier, context, next) {
    const [, module = "index"] = /^effect-redsync(?:\/(\w+))?$/.exec(specifier) ?? [undefined, ""]
    return next(module === "" ? specifier : new URL(`../../../src/${module}.ts`, import.meta.url).href, context)
  }
})
