/** What a filesystem gives the suite: how it is mounted, and what it claims. */
import type { BlockDevice, Kernel, Plugin } from '@tidemark/core';

/** What a filesystem claims. What is absent is not claimed, and the suite checks that it is refused. */
export interface FileSystemSupports {
  /** Nothing can be changed; `create` fills it by other means. */
  readonly readOnly?: boolean;
  /** It lives on the device it is given: what was synced is there when it is mounted again. */
  readonly persistent?: boolean;
  /** What was synced survives a crash at any write or flush, and the tree is never half changed. Wants `persistent`. */
  readonly crashConsistent?: boolean;
  readonly hardLinks?: boolean;
  readonly symlinks?: boolean;
  /** Device nodes, FIFOs and sockets. */
  readonly specialFiles?: boolean;
  readonly xattrs?: boolean;
  /** Rename that exchanges two names. */
  readonly exchange?: boolean;
  /** `allocate` with `PUNCH_HOLE` and `ZERO_RANGE`. */
  readonly punch?: boolean;
  /** `seek` tells holes from data; without it a file is all data. */
  readonly seekHoles?: boolean;
  /** Files are found by handle with nothing cached, after a remount too. */
  readonly handles?: boolean;
  /** Files can be pinned through `SWAP_HOOKS`, which claim an open file of it (M14). */
  readonly pinnedFiles?: boolean;
}

/** Where a filesystem is to be mounted. */
export interface Ground {
  readonly kernel: Kernel;
  /** The disk, for filesystems with one. */
  readonly device: BlockDevice | null;
  /** True once for a disk: nothing is on it yet, it is to be formatted. Always true without a disk. */
  readonly isFresh: boolean;
}

/** A filesystem under test. */
export interface FileSystemSubject {
  /** For titles and messages. */
  readonly name: string;
  /** The plugins of the kernels it is mounted in. */
  readonly plugins: readonly Plugin[];
  /** Mounts it at `/` (`kernel.mount(…, '/')`), formatting the disk first if it is fresh. */
  create(ground: Ground): Promise<void>;
  readonly supports: FileSystemSupports;
  /** Bytes of its disk. Absent: it has none. */
  readonly diskBytes?: number;
  /** Memory of an ordinary kernel in bytes. Default 4 MiB. */
  readonly memoryBytes?: number;
}

/** How much is done. */
export interface SuiteOptions {
  /** Multiplies schedules, crash points and faults. Default 1, which is made for a unit test. */
  readonly effort?: number;
  /** Most crash points of a run, spread over what its disk was asked. Default 40 × effort; `Infinity`: after each write and flush. */
  readonly crashPointsMax?: number;
  /** First seed. Default 1. */
  readonly seed?: number;
}
