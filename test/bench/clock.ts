/** Milliseconds on the machine's monotonic clock, the same in all processes. */
export const now = (): number => Number(process.hrtime.bigint()) / 1e6
