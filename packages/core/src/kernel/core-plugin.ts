/**
 * What core itself brings, registered as any plugin would: the RAM disk, and the hooks for raw devices that no package claims.
 */
import type { BlockDevice } from '../block/block-device.js';
import { createDeviceHooks, rawDeviceFootprint } from '../block/device-hooks.js';
import { RamDiskDriver } from '../block/ram-disk.js';
import { type DependencyContainer, instanceCachingFactory } from './di.js';
import { definePlugin } from './plugin.js';
import { BLOCK_DRIVER, MEMORY, SWAP_HOOKS, WRITEOUT_HOOK } from './tokens.js';

/** Registered last by every kernel. */
export const corePlugin = definePlugin({
  name: 'core',
  register(container) {
    // Made once per container. Raw devices need no memory beyond their bios.
    const rawHooks = instanceCachingFactory((c: DependencyContainer) =>
      createDeviceHooks(c.resolve(MEMORY), {
        name: 'raw',
        owns: (device: BlockDevice) => !device.viaSocket,
        footprint: () => rawDeviceFootprint(c.resolve(MEMORY).nrFrames),
      }),
    );
    container.register(BLOCK_DRIVER, { useFactory: (c) => new RamDiskDriver(c.resolve(MEMORY).arena) });
    container.register(SWAP_HOOKS, { useFactory: (c) => rawHooks(c).swapHooks });
    container.register(WRITEOUT_HOOK, { useFactory: (c) => rawHooks(c).writeoutHook });
  },
});
