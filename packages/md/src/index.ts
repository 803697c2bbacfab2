/**
 * `@tidemark/md`: RAID1 with a write-intent bitmap, on the members or in a file.
 *
 * @example
 * ```ts
 * import { Kernel } from '@tidemark/core';
 * import { host } from '@tidemark/core/host';
 * import { createArray, md, raid1Of } from '@tidemark/md';
 *
 * const kernel = await Kernel.boot({ memory: '8MiB', plugins: [host, md] });
 * const disks = [await kernel.openBlockDevice('mem:64MiB'), await kernel.openBlockDevice('mem:64MiB')];
 * const array = await createArray(kernel, disks, { bitmap: true });
 * await raid1Of(kernel, array).waitForSync();
 * await kernel.shutdown();
 * ```
 *
 * @packageDocumentation
 */
export type { MemberState } from './array/member.js';
export type { SyncAction, SyncProgress } from './array/sync-pass.js';
export type { AssembleOptions, RefusedDevice } from './assemble.js';
export type { BitmapWhere } from './bitmap-place.js';
export type { BitmapOptions } from './bitmap/load.js';
export type { CreateOptions } from './create.js';
export { bitmapFootprint, describeRaid1, raid1Footprint } from './footprint.js';
export { type BitmapSuperblock, decodeBitmapSuperblock, encodeBitmapSuperblock } from './format/bitmap-superblock.js';
export {
  type BadBlockLogPlace,
  decodeSuperblock,
  encodeSuperblock,
  Feature,
  Role,
  type Superblock,
  SUPERBLOCK_OFFSET_BYTES,
} from './format/superblock.js';
export { assembleArray, createArray, md } from './plugin.js';
export { type BitmapInfo, type MemberInfo, Raid1, type Raid1Info, raid1Of } from './raid1.js';
