/** T12: two superblocks, with and without a loop file: the four cases of `scopes.ts`, each in a kernel of its own, under the policy's reclaim rule. */
import { allocateInside, mountScope, SCOPE_CASES, SCOPE_FRAMES } from '../scopes.js';
import type { Topology } from '../topology.js';

export const T12: Topology = {
  name: 'T12',
  title: 'two superblocks, with and without a loop file',
  preconditions: 'half of memory in B, all of it clean but for one page; direct reclaim for one allocator inside A',
  transport: 'loopback model',
  async run(stage) {
    const stacks = [];
    for (const scope of SCOPE_CASES) {
      const lab = await stage.boot({ name: `box-${scope}`, nrFrames: SCOPE_FRAMES });
      stacks.push({ lab, stack: await mountScope(lab, scope) });
    }
    stage.begins();
    for (const { lab, stack } of stacks) await allocateInside(lab, stack);
  },
};
