/**
 * How large the bundle of a program may be that takes locks with `withLock` on
 * nodes given as URLs: our part alone, minified and gzipped, in bytes, without
 * `effect` and `ioredis`. A few per cent above what it is. Whoever needs more raises it
 * here and says why; whoever saves some lowers it.
 */
export const budgetBytes = 74_000

/** The same for what a program whose nodes are no URLs loads at once, where its bundler splits at dynamic imports. */
export const budgetBytesWithoutUrls = 65_000
