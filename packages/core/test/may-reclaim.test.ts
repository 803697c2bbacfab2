/**
 * Reclaim on the node a task is inside of (M11): its owner decides, page by page, from what it put into the task's scope itself. Nobody marks
 * a call site (trap 4): whatever the task does later, however deep, is asked about.
 */
import {
  depthRule,
  type DeviceCache,
  Kernel,
  nofsRule,
  PAGE_SIZE,
  PG,
  reachRule,
  TaskContext,
  WriteoutGraph,
  type WriteoutNode,
} from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MemoryDevice } from './support/memory-device.js';
import { VirtualTime, virtualHost } from './support/virtual-time.js';

const footprint = { standing: [], unit: [], nrUnits: 1 };

describe('the rules ask the owner of the node a task is inside of', () => {
  it('with the page and exactly what it put in, once for each time the task has entered; without an owner’s word the answer is no', () => {
    const asked: unknown[] = [];
    const owner: WriteoutNode = {
      name: 'owner',
      kind: 'filesystem',
      footprint,
      mayReclaim: (pfn, context) => {
        asked.push([pfn, context]);
        return context !== 'refuse';
      },
    };
    const silent: WriteoutNode = { name: 'silent', kind: 'filesystem', footprint };
    const graph = new WriteoutGraph();
    graph.add({ nodes: [owner, silent] });
    const [first, second] = [{ inode: 1 }, { inode: 2 }];
    const root = TaskContext.root('writer');
    for (const rule of [reachRule(graph), depthRule(graph)]) {
      expect(rule.mayEnter(root.within(owner, first), owner, 7)).toBe(true);
      expect(rule.mayEnter(root.within(owner, first).noIo().within(owner, second), owner, 8)).toBe(true);
      expect(rule.mayEnter(root.within(owner, first).within(owner, 'refuse'), owner, 9)).toBe(false);
      expect(asked.splice(0)).toEqual([
        [7, first],
        [8, first],
        [8, second],
        [9, first],
        [9, 'refuse'],
      ]);
      expect(rule.mayEnter(root.within(owner, first), owner)).toBe(false); // for every page of it: no
      expect(rule.mayEnter(root.within(silent, first), silent, 7)).toBe(false);
      expect(asked).toEqual([]);
    }
    expect(nofsRule(graph).mayEnter(root.within(owner, first), owner, 7)).toBe(false);
  });

  it('and no owner can open a way that leads back: a node above one the task is inside of stays shut', () => {
    const upper: WriteoutNode = { name: 'upper', kind: 'filesystem', footprint, mayReclaim: () => true };
    const lower: WriteoutNode = { name: 'lower', kind: 'filesystem', footprint, mayReclaim: () => true };
    const graph = new WriteoutGraph();
    graph.add({ nodes: [upper, lower], edges: [[upper, lower]] });
    const rule = reachRule(graph);
    const inBoth = TaskContext.root('server').within(upper).within(lower);
    expect([rule.mayEnter(inBoth, upper, 1), rule.mayEnter(inBoth, lower, 1)]).toEqual([false, true]);
  });
});

describe('reclaim for a task inside a node', () => {
  /** A kernel with a cached device of 64 dirty pages, too few for a flusher, whose node's owner decides by `lets`. */
  async function bootDirty(lets: ((index: number, context: unknown) => boolean) | null) {
    const time = new VirtualTime();
    const kernel = await Kernel.boot({ memory: '8MiB', plugins: [virtualHost(time)] });
    const device = kernel.attach(new MemoryDevice({ arena: kernel.memory.arena, sizeBytes: 2 ** 20, time }));
    const node = await kernel.writeoutNodeOf(device);
    const indexOf = (pfn: number): number => kernel.memory.frames.index[pfn];
    if (lets !== null) Object.assign(node, { mayReclaim: (pfn: number, context: unknown) => lets(indexOf(pfn), context) });
    const cache = kernel.cacheDevice(device);
    for (let index = 0; index < 64; index++) await time.run(cache.write(index * PAGE_SIZE, new Uint8Array(8).fill(index + 1)));
    return { time, kernel, node, cache };
  }

  /** Asks for everything from inside `node`, and tells which pages are clean when what that started has ended. */
  async function written(world: Awaited<ReturnType<typeof bootDirty>>, task: TaskContext): Promise<number[]> {
    const { time, kernel, cache } = world;
    kernel.reclaim.shrink(1_000, true, false, task);
    await time.run(new Promise<void>((resolve) => void kernel.clock.setTimer(1_000, resolve)));
    return clean(kernel, cache);
  }

  it('writes those of its pages that the owner lets go, and no other', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 64, maxLength: 64, max: 1 }), async (letsGo) => {
        const contexts = new Set<unknown>();
        const world = await bootDirty((index, context) => {
          contexts.add(context);
          return letsGo[index] === 1;
        });
        const context = { letsGo };
        const gone = await written(world, TaskContext.root('writer').within(world.node, context));
        expect([...contexts]).toEqual([context]);
        for (const index of gone) expect(letsGo[index]).toBe(1);
        if (letsGo.includes(1)) expect(gone.length).toBeGreaterThan(0);
        await world.time.run(world.kernel.shutdown());
      }),
      { numRuns: 20 },
    );
  });

  it('writes none of an owner that says nothing, and all from inside nothing', async () => {
    const world = await bootDirty(null);
    expect(await written(world, TaskContext.root('writer').within(world.node))).toEqual([]);
    expect((await written(world, TaskContext.root('writer'))).length).toBeGreaterThan(0);
    await world.time.run(world.kernel.shutdown());
  });
});

/** Pages of the cache that are not dirty: in memory and clean, or gone. */
function clean(kernel: Kernel, cache: DeviceCache): number[] {
  const dirty = new Set<number>();
  const { frames } = kernel.memory;
  for (let pfn = 0; pfn < kernel.memory.nrFrames; pfn++) {
    if (frames.space[pfn] === cache.pages.id && (frames.flags[pfn] & PG.DIRTY) !== 0) dirty.add(frames.index[pfn]);
  }
  return Array.from({ length: 64 }, (_, index) => index).filter((index) => !dirty.has(index));
}
