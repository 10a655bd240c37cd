/** The source of every entry point, by its path from the root. */
import manifest from "../../package.json" with { type: "json" }

export const sourcesOfEntryPoints: ReadonlyArray<string> = Object.values(manifest.exports).flatMap((target) =>
  target !== null && typeof target === "object" ? [target.default.replace(/^\.\/dist\/(.*)\.js$/, "src/$1.ts")] : []
)
