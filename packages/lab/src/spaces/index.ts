/** Three named spaces of model nodes, searched whole: `local-chain`, `anonymous`, `hand-off`. */
export { type AnonymousRules, anonymousModel } from './anonymous.js';
export { type HandOffRules, handOffModel } from './hand-off.js';
export { type LocalChainRules, localChainModel } from './local-chain.js';
export * from './run-spaces.js';
export { type Expectation, SPACE_SEARCHES, type SpaceName, type SpaceSearch } from './searches.js';
