/**
 * What the doctor finds, in plain words, and what to do about it.
 */

/**
 * An error keeps locks from working or from excluding others; a warning costs safety or
 * speed in a case that may never occur; a note is not a fault.
 */
export interface Finding {
  readonly level: "error" | "warning" | "note"
  readonly check: string
  readonly message: string
  readonly advice?: string
}

export const error = (check: string, message: string, advice?: string): Finding =>
  finding("error", check, message, advice)
export const warning = (check: string, message: string, advice?: string): Finding =>
  finding("warning", check, message, advice)
export const note = (check: string, message: string): Finding => finding("note", check, message)

const finding = (level: Finding["level"], check: string, message: string, advice?: string): Finding =>
  advice === undefined ? { level, check, message } : { level, check, message, advice }

/** One server, as far as it could be examined. */
export interface Patient {
  readonly node: string
  readonly version?: string
  readonly role?: string
  readonly runId?: string
  readonly uptimeSeconds?: number
  readonly roundTripMillis?: number
  /** How far its clock is ahead of ours. */
  readonly clockOffsetMillis?: number
  readonly persistence?: string
  readonly evictionPolicy?: string
  readonly findings: ReadonlyArray<Finding>
}
