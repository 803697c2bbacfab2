/** Strict kernels: a violation of what a node declared fails the run where it happens, with plenty of memory, whoever swallows the error. */
import { Gfp, type Kernel, type WriteoutNode } from '@tidemark/core';
import { type Scenario, ViolationError } from '@tidemark/testkit';
import { simulate } from '@tidemark/testkit/host';
import { describe, expect, it } from 'vitest';

const NODE: WriteoutNode = {
  name: 'model',
  kind: 'model',
  footprint: { standing: [], unit: [{ what: 'request', frames: 1 }], nrUnits: 1 },
};

/** A unit that takes `nrFrames` under a ticket for one; what it throws is swallowed. */
async function takesFrames(kernel: Kernel, nrFrames: number): Promise<void> {
  const { units } = kernel.reserves.accountOf(NODE);
  const ticket = await units.begin(kernel.task);
  if (typeof ticket === 'number') throw new Error('no unit');
  const held: number[] = [];
  try {
    for (let i = 0; i < nrFrames; i++) held.push(kernel.memory.allocator.allocPage(kernel.task.withTicket(ticket), Gfp.TRANSIENT));
  } catch {
    // as a careless plugin might
  }
  for (const pfn of held) kernel.memory.allocator.freePage(pfn);
  ticket.end();
}

function scenario(nrFrames: number, strict?: boolean): Scenario {
  return {
    name: 'declares one frame',
    async run(world) {
      const kernel = await world.boot(world.machine('host'), { memory: '4MiB', strict });
      await kernel.reserves.admit(kernel.task, { candidates: [{ node: NODE }], edges: [] });
      await world.together(async () => takesFrames(kernel, nrFrames));
      await kernel.reserves.release(NODE);
    },
  };
}

describe('a strict kernel', () => {
  it('passes a node that holds what it declared', async () => {
    expect(await simulate(scenario(1), { seed: 1 })).toMatchObject({ verdict: 'completes', error: null });
  });

  it('fails one that holds a frame more, naming node and site', async () => {
    const { verdict, error } = await simulate(scenario(2), { seed: 1 });
    expect(verdict).toBe('failed');
    expect(error).toBeInstanceOf(ViolationError);
    expect((error as ViolationError).violation).toMatchObject({ kind: 'overspent', node: 'model' });
    expect((error as ViolationError).stack).toContain('takesFrames');
  });

  it('is the default, and can be asked not to be', async () => {
    expect(await simulate(scenario(2, false), { seed: 1 })).toMatchObject({ verdict: 'completes' });
  });
});
