/** Semaphores: whether more get in than may, what they cost, and how they do under load. */
import { Effect } from "effect"
import type { Scenario } from "../scenario.ts"
import { admission } from "./admission.ts"
import { costs } from "./costs.ts"
import { load } from "./load.ts"

export const permits: Scenario = (setting) =>
  Effect.map(Effect.all([admission(setting), costs(setting), load(setting)]), (reports) => ({
    tables: reports.flatMap(({ tables }) => tables),
    aims: reports.flatMap(({ aims }) => aims),
    samples: reports.map(({ samples }) => samples),
    readme: reports.flatMap(({ tables }) => tables)
  }))
