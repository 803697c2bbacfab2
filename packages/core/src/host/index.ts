/**
 * `@tidemark/core/host`: what a kernel needs of Node. Time, deferred work, randomness, block devices in files, and
 * `kernel.fs`, shaped like `node:fs`.
 *
 * @example
 * ```ts
 * const kernel = await Kernel.boot({ memory: '8MiB', plugins: [host] });
 * const disk = await kernel.openBlockDevice('file:disk.img?create=1&size=64MiB');
 * ```
 *
 * @packageDocumentation
 */
import { definePlugin } from '../kernel/plugin.js';
import { BLOCK_DRIVER, CLOCK, FS_FACE, MEMORY, RANDOM, SCHEDULER } from '../kernel/tokens.js';
import { HostClock } from './clock.js';
import { FileDriver } from './file-driver.js';
import { createNodeFs } from './fs/index.js';
import { HostRandom } from './random.js';
import { HostScheduler } from './scheduler.js';

export * from './clock.js';
export { type FileDeviceOptions, openFileDevice } from './file-device.js';
export * from './file-driver.js';
export type { FileIoMode } from './file-io.js';
export * from './fs/index.js';
export * from './random.js';
export * from './scheduler.js';

/** Registers the host's clock, scheduler and random source, the driver of file devices, and `kernel.fs`. */
export const host = definePlugin({
  name: 'host',
  register(container) {
    container.register(CLOCK, { useValue: new HostClock() });
    container.register(SCHEDULER, { useValue: new HostScheduler() });
    container.register(RANDOM, { useValue: new HostRandom() });
    container.register(FS_FACE, { useValue: { create: createNodeFs } });
    container.register(BLOCK_DRIVER, { useFactory: (c) => new FileDriver(c.resolve(MEMORY).arena) });
  },
});
