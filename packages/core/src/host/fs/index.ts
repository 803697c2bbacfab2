/** The face for programs, shaped like `node:fs`; registered under `FS_FACE` by the plugin `host`. */
export { BigIntStats, Dirent, type StatFs, Stats } from './stats.js';
export { FsError } from './errors.js';
export {
  createNodeFs,
  DESCRIPTOR_CALLS,
  type DescriptorCall,
  type FsPromises,
  type GlobOptions,
  type NodeFs,
  type OtherCall,
  PATH_CALLS,
  type PathCall,
} from './node-fs.js';
export { createNodeVfsProvider, type MountedInNode, mountInNode } from './node-vfs.js';
