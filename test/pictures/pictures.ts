/** All pictures of the pages, by their files. */
import { frontColumns, lastRuns } from "../bench/results.ts"
import { root } from "../support/pages.ts"
import { architecture } from "./architecture.ts"
import { drawCost } from "./cost.ts"
import { drawDemo } from "./demo/picture.ts"
import { recorded } from "./demo/recording.ts"
import { frozenHolder } from "./frozenHolder.ts"
import { handOver } from "./handOver.ts"
import { lifeOfALock } from "./lifeOfALock.ts"
import { quorum } from "./quorum.ts"
import { draw } from "./svg.ts"

export const pictures = (): ReadonlyMap<string, string> =>
  new Map(
    Object.entries({
      architecture: draw(architecture),
      cost: drawCost(frontColumns(lastRuns())),
      demo: drawDemo(recorded()),
      "frozen-holder": draw(frozenHolder),
      "hand-over": draw(handOver),
      "life-of-a-lock": draw(lifeOfALock),
      quorum: draw(quorum)
    }).map(([name, picture]) => [`${root}src/pictures/${name}.svg`, picture])
  )
