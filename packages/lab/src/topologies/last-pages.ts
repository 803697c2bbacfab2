/**
 * T10: all memory is anonymous, there is no swap, and a few dirty file pages are left; writing one needs metadata that is not in memory.
 * One filesystem a device, one dirty page each: the least that is always allowed to be dirty (M10).
 */
import { isKernelError, PAGE_SIZE } from '@tidemark/core';
import { ModelExt3, type ModelExt3Spec } from '../models/ext3.js';
import type { Topology } from '../topology.js';

const FRAMES = 512;
const MIN_FRAMES = 8;
const NR_DEVICES = 4;
/** Tasks that want more anonymous memory meanwhile. */
const NR_GROWERS = 4;

/** The topology, by when and where a page's metadata is read: when it becomes dirty (M7), or when it is written. */
export function lastPages(name: string, mapsAtWriteback: ModelExt3Spec['mapsAtWriteback']): Topology {
  return {
    name,
    title: 'all anonymous, no swap, few dirty pages',
    preconditions: `anonymous all but ${NR_DEVICES} dirty pages on as many devices and the reserve; metadata not in memory`,
    transport: null,
    async run(stage) {
      const lab = await stage.boot({ name: 'box', nrFrames: FRAMES, watermarks: { minFrames: MIN_FRAMES } });
      const { kernel, world } = lab;
      const files = [];
      for (let nr = 0; nr < NR_DEVICES; nr++) {
        const ext3 = await ModelExt3.mount(lab, { name: `ext3:vd${nr}`, device: lab.disk(`vd${nr}`), nrUnits: 1, mapsAtWriteback });
        const file = ext3.file(`/${nr}/file`, 4);
        await file.write(kernel.task, 0, new Uint8Array(PAGE_SIZE).fill(nr));
        files.push(file);
      }
      const { allocator } = kernel.memory;
      const anonymous = await lab.fill(allocator.nrFree - allocator.low - 2);
      const giveBack = lab.drain();
      stage.begins();
      const grow = async (): Promise<void> => {
        try {
          (await lab.fill(2)).close();
        } catch (error) {
          if (!isKernelError(error) || error.code !== 'ENOMEM') throw error; // growth may be refused; writeout may not
        }
      };
      await world.together(
        ...files.map((file) => () => file.sync(kernel.task.named(`fsync ${file.name}`))),
        ...Array.from({ length: NR_GROWERS }, () => grow),
      );
      giveBack();
      anonymous.close();
    },
  };
}

export const T10 = lastPages('T10', 'declared memory');
