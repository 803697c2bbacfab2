/** All topologies, in the order of the matrix. */
import type { Topology } from '../topology.js';
import { T10 } from './last-pages.js';
import { T6, T7 } from './local-chain.js';
import { T11A, T11C } from './raid1.js';
import { T8, T8_TWIN } from './swap-on-local-server.js';
import { T1, T2, T3 } from './t1-t3.js';
import { T14 } from './unbounded-filesystem.js';

export const TOPOLOGIES: readonly Topology[] = [T1, T2, T3, T6, T7, T8, T8_TWIN, T10, T11A, T11C, T14];
