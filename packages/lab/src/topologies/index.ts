/** All topologies, in the order of the matrix. */
import { KernelError } from '@tidemark/core';
import type { Topology } from '../topology.js';
import { T10 } from './last-pages.js';
import { T6, T7 } from './local-chain.js';
import { T4, T11B } from './pinned-nfs.js';
import { T11A, T11C } from './raid1.js';
import { T8, T8_TWIN } from './swap-on-local-server.js';
import { T5, T9, T13 } from './swap-over-packets.js';
import { T1, T2, T3 } from './t1-t3.js';
import { T12 } from './two-superblocks.js';
import { T14 } from './unbounded-filesystem.js';

export const TOPOLOGIES: readonly Topology[] = [T1, T2, T3, T4, T5, T6, T7, T8, T8_TWIN, T9, T10, T11A, T11B, T11C, T12, T13, T14];

/** The topology of that name. @throws KernelError EINVAL naming the known ones. */
export function topologyNamed(word: string): Topology {
  const topology = TOPOLOGIES.find(({ name }) => name === word);
  if (topology !== undefined) return topology;
  throw new KernelError(
    'EINVAL',
    `there is no topology ${JSON.stringify(word)}; there are ${TOPOLOGIES.map(({ name }) => name).join(', ')}`,
  );
}
