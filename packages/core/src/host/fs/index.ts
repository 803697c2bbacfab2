/** The face for programs, shaped like `node:fs`; registered under `FS_FACE` by the plugin `host`. */
export { BigIntStats, Dirent, type StatFs, Stats } from './stats.js';
export { Dir } from './directory.js';
export { FileHandle } from './file-handle.js';
export { FsError } from './errors.js';
export { createNodeFs, type FsPromises, type GlobOptions, type NodeFs } from './node-fs.js';
