/** T12: two superblocks, with and without a loop file: the four cases of `scopes.ts`, each in a kernel of its own, under the policy's reclaim rule. */
import { allocateInside, SCOPE_CASES, SCOPE_FRAMES } from '../scopes.js';
import type { Topology } from '../topology.js';

export const T12: Topology = {
  name: 'T12',
  title: 'two superblocks, with and without a loop file',
  preconditions: 'half of memory in B, all of it clean but for one page; direct reclaim for one allocator inside A',
  transport: 'loopback model',
  async run(stage) {
    const labs = [];
    for (const scope of SCOPE_CASES) labs.push({ scope, lab: await stage.boot({ name: `box-${scope}`, nrFrames: SCOPE_FRAMES }) });
    stage.begins();
    for (const { scope, lab } of labs) await allocateInside(lab, scope);
  },
};
