/**
 * What `kernel.fs` is. Core has no host, and a face shaped like `node:fs` needs Node's streams and buffers; so the host's package brings
 * the face (token `FS_FACE`), and says what it looks like by adding to `FsFace`.
 */
import type { RandomSource } from '../task/clock.js';
import type { Vfs } from './vfs.js';

/** The face for programs. `@tidemark/core/host` adds the members of `NodeFs`. */
// biome-ignore lint/suspicious/noEmptyInterface: it is there to be added to
export interface FsFace {}

/** Makes the face of a kernel; once. */
export interface FsFaceFactory {
  create(vfs: Vfs, random: RandomSource): FsFace;
}
