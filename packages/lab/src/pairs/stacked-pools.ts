/**
 * M19, a shared pool: two stacked devices whose requests come from one pool of one element. The upper one has it and waits for the lower one,
 * which waits for it. With a pool of one element each they complete.
 */
import { Mempool, type NegErrno, PAGE_SIZE, type Pfn, type TaskContext } from '@tidemark/core';
import type { LabKernel } from '../models/lab-kernel.js';
import { attachModelDevice, type PageStore } from '../models/model-device.js';
import { ModelNode } from '../models/model-node.js';
import { deviceStore } from '../models/page-stores.js';
import type { Topology } from '../topology.js';

const FRAMES = 128;
const DEVICE_PAGES = 64;

type Request = object;

/** A device that takes a request from a pool for each page, and keeps it until the device below has ended. */
async function pooled(lab: LabKernel, name: string, pool: Mempool<Request>, below: PageStore): Promise<PageStore> {
  const node = new ModelNode(lab, { name, kind: 'mapping', unit: [], nrUnits: 4 });
  await lab.admit(
    [node],
    below.needs.map((next) => [node, next] as const),
  );
  const withRequest = async (work: () => Promise<0 | NegErrno>, caller: TaskContext): Promise<0 | NegErrno> => {
    const unit = await node.begin(caller);
    const request = await pool.get(unit.task);
    if (typeof request === 'number') return request;
    const status = await unit.waitFor(below.needs[0], work());
    pool.put(request);
    unit.end();
    return status;
  };
  return {
    name,
    sizePages: below.sizePages,
    needs: [node],
    write: (task, index: number, pfn: Pfn) => withRequest(() => below.write(node.task, index, pfn), task),
    read: (task, index: number, pfn: Pfn) => withRequest(() => below.read(node.task, index, pfn), task),
    flush: (task) => below.flush(task),
  };
}

/** Two stacked devices over a disk, and writes of pages to the upper one. */
export function stackedDevices(isShared: boolean): Topology {
  return {
    name: isShared ? 'two devices, one pool' : 'two devices, two pools',
    title: 'page cache → upper device → lower device → disk',
    preconditions: 'pools of one element',
    transport: null,
    async run(stage) {
      const lab = await stage.boot({ name: 'box', nrFrames: FRAMES });
      const makePool = (name: string) => new Mempool<Request>({ name, nrElements: 1, create: () => ({}) });
      const upper = makePool('requests of upper');
      const lower = isShared ? upper : makePool('requests of lower');
      const disk = await deviceStore(lab, lab.disk('vda'), 'vda', DEVICE_PAGES);
      const stack = await pooled(lab, 'upper', upper, await pooled(lab, 'lower', lower, disk));
      const cache = lab.kernel.cacheDevice(await attachModelDevice(lab, { ...stack, name: 'upper device' }));
      stage.begins();
      await stage.world.together(async () => {
        await cache.write(0, new Uint8Array(4 * PAGE_SIZE).fill(1));
        await cache.sync();
      });
      await cache.close();
    },
  };
}
