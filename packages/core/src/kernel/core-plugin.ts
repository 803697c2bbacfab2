/**
 * What core itself brings, registered as any plugin would: the RAM disk, filters, and the hooks for raw devices that no package claims.
 */
import type { BlockDevice } from '../block/block-device.js';
import { createDeviceHooks, rawDeviceFootprint } from '../block/device-hooks.js';
import { Filter } from '../block/filters/filter.js';
import { RamDiskDriver } from '../block/ram-disk.js';
import { type DependencyContainer, instanceCachingFactory } from './di.js';
import { FilterDriver, pinBelow } from './filters.js';
import { LoopDriver, loopHooks } from './loop-driver.js';
import { fileHooks } from '../vfs/pinned-files.js';
import { definePlugin } from './plugin.js';
import { BLOCK_DRIVER, KERNEL, MEMORY, SWAP_HOOKS, WRITEOUT_HOOK } from './tokens.js';

/** Registered last by every kernel. */
export const corePlugin = definePlugin({
  name: 'core',
  register(container) {
    // Made once per container. Raw devices need no memory beyond their bios.
    const rawHooks = instanceCachingFactory((c: DependencyContainer) =>
      createDeviceHooks(c.resolve(MEMORY), {
        name: 'raw',
        owns: (device: BlockDevice) => !device.viaSocket && !(device.ops instanceof Filter),
        footprint: () => rawDeviceFootprint(c.resolve(MEMORY).nrFrames),
      }),
    );
    const filterHooks = instanceCachingFactory((c: DependencyContainer) =>
      createDeviceHooks(c.resolve(MEMORY), {
        name: 'filters',
        owns: (device: BlockDevice) => device.ops instanceof Filter,
        footprint: (device) => (device.ops as Filter).footprint,
        pinBehind: (task, device, spec) => pinBelow(c.resolve(KERNEL))(task, device, spec),
      }),
    );
    const loops = instanceCachingFactory((c: DependencyContainer) => loopHooks(c.resolve(MEMORY)));
    container.register(BLOCK_DRIVER, { useFactory: (c) => new FilterDriver(() => c.resolve(KERNEL)) });
    container.register(BLOCK_DRIVER, { useFactory: (c) => new LoopDriver(() => c.resolve(KERNEL)) });
    for (const hooks of [filterHooks, loops, rawHooks]) {
      container.register(SWAP_HOOKS, { useFactory: (c) => hooks(c).swapHooks });
      container.register(WRITEOUT_HOOK, { useFactory: (c) => hooks(c).writeoutHook });
    }
    container.register(SWAP_HOOKS, { useValue: fileHooks });
    container.register(BLOCK_DRIVER, { useFactory: (c) => new RamDiskDriver(c.resolve(MEMORY).arena) });
  },
});
