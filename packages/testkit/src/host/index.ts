/**
 * `@tidemark/testkit/host`: runs on Node, one seed or many, and the command that replays a failure.
 *
 *     TIDEMARK_SEED=17 npx vitest run …        runs seed 17 alone, wherever `explore` would have run many
 *
 * @packageDocumentation
 */
export {
  drainReactions,
  explore,
  type ExploreOptions,
  type ExploreSummary,
  type HostOptions,
  SimulationFailure,
  simulate,
} from './explore.js';
export { recordedTrace, TRACES_VARIABLE, tracesFolder } from './recorded-traces.js';
