import { mutations } from "./mutations.ts"
import { findsOutAll } from "./suite.ts"

findsOutAll(new URL("mutations.ts", import.meta.url), mutations)
