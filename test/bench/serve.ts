/** A process of a benchmark, as seen from itself. */
export type Jobs = Record<string, (options: any) => Promise<unknown>>

/** Does what the parent asks for, one message a job, until the parent leaves. */
export const serve = (jobs: Jobs): void => {
  process.on("message", ({ id, job, options }: { readonly id: number; readonly job: string; options: unknown }) => {
    jobs[job]!(options).then(
      (answer) => process.send!({ id, answer }),
      (error) => process.send!({ id, error: String(error) })
    )
  })
  process.on("disconnect", () => process.exit())
}
