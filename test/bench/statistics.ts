/** The numbers the tables are made of. */

export const quantile = (values: Iterable<number>, q: number): number => {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN
}

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length / 2
  const [low = Number.NaN, high = low] = sorted.slice(Math.ceil(middle) - 1, Math.floor(middle) + 1)
  return (low + high) / 2
}

export const sum = (values: Iterable<number>): number => {
  let total = 0
  for (const value of values) total += value
  return total
}

/** Jain's index of fairness: 1 if all have the same, 1 / n if one has all. */
export const jain = (shares: ReadonlyArray<number>): number =>
  sum(shares) ** 2 / (shares.length * sum(shares.map((share) => share * share)))

/** One turn of one contender, in milliseconds on the clock that all processes share. */
export interface Turn {
  readonly contender: number
  readonly asked: number
  /** Not a number where it was still waiting at the end, `left` too. */
  readonly acquired: number
  readonly left: number
}

/** How often somebody was let in before the one before had left. */
export const overlaps = (turns: ReadonlyArray<Turn>): number => {
  const inOrder = turns.filter(({ acquired }) => !Number.isNaN(acquired)).sort((a, b) => a.acquired - b.acquired)
  let until = Number.NEGATIVE_INFINITY
  let count = 0
  for (const { acquired, left } of inOrder) {
    if (acquired < until) count++
    until = Math.max(until, left)
  }
  return count
}
