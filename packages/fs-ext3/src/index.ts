/**
 * `@tidemark/fs-ext3`: ext3, and ext2 without a journal.
 *
 * `ext3` is the plugin that mounts; `mkfs` makes images, `checkExt3` checks them.
 *
 * @packageDocumentation
 */
export { ext3 } from './plugin.js';
export { checkExt3, type CheckReport } from './check/check.js';
export type { Finding } from './check/findings.js';
export type { ImageSource } from './check/image.js';
export type { AllocateWords, Words } from './check/tables.js';
export { type MadeFilesystem, mkfs, type MkfsTarget } from './mkfs/mkfs.js';
export { defaultJournalBlocks, type MkfsOptions, type MkfsPlan, planMkfs } from './mkfs/options.js';
export { type BlockStore, type JournalFile, recover, type RecoveryReport } from './journal/recovery.js';
export { describeExt3, ext3PinFrames, MOUNT_OBJECTS, type VolumeDescription } from './volume/footprint.js';
export type { Geometry } from './format/geometry.js';
export type { JournalSuperblock } from './format/journal.js';
export type { Superblock } from './format/superblock.js';
