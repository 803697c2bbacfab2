/** MOUNT version 3 (RFC 1813, appendix I): a path for a handle, and what a server exports. */
import { Errno, type NegErrno } from '@tidemark/core';
import type { XdrReader } from '../xdr/xdr-reader.js';
import type { XdrWriter } from '../xdr/xdr-writer.js';
import { getHandle } from './arguments.js';
import { MOUNT_PATH_BYTES_MAX } from './nfs3-constants.js';

/** `mountstat3`. */
export const MountStatus = {
  OK: 0,
  PERM: 1,
  NOENT: 2,
  IO: 5,
  ACCES: 13,
  NOTDIR: 20,
  INVAL: 22,
  NAMETOOLONG: 63,
  NOTSUPP: 10_004,
  SERVERFAULT: 10_006,
} as const;

const ERRNO_OF: Readonly<Record<number, number>> = {
  [MountStatus.PERM]: Errno.EPERM,
  [MountStatus.NOENT]: Errno.ENOENT,
  [MountStatus.IO]: Errno.EIO,
  [MountStatus.ACCES]: Errno.EACCES,
  [MountStatus.NOTDIR]: Errno.ENOTDIR,
  [MountStatus.INVAL]: Errno.EINVAL,
  [MountStatus.NAMETOOLONG]: Errno.ENAMETOOLONG,
  [MountStatus.NOTSUPP]: Errno.EOPNOTSUPP,
};
const FLAVORS_MAX = 32;
/** Exports, and groups of one, that are read of an answer; it is no longer than its message either way. */
const LIST_MAX = 4096;

/** The errno for a status. */
export function errnoOfMountStatus(status: number): 0 | NegErrno {
  return status === MountStatus.OK ? 0 : -(ERRNO_OF[status] ?? Errno.EIO);
}

/** The status for an errno. */
export function mountStatusOfErrno(errno: 0 | NegErrno): number {
  if (errno === 0) return MountStatus.OK;
  const found = Object.entries(ERRNO_OF).find(([, number]) => number === -errno);
  return found === undefined ? MountStatus.IO : Number(found[0]);
}

/** MNT and UMNT: the path. */
export function getMountPath(input: XdrReader): Uint8Array {
  return input.opaque(MOUNT_PATH_BYTES_MAX, 'a path');
}

/** What MNT answers, behind status OK. */
export interface MountResult {
  readonly handle: Uint8Array;
  /** Flavors of credentials that the server takes; none means it does not say. */
  readonly flavors: readonly number[];
}

export function getMounted(input: XdrReader): MountResult {
  const handle = getHandle(input);
  const nrFlavors = input.length(FLAVORS_MAX, 'a list of flavors');
  return { handle, flavors: Array.from({ length: nrFlavors }, () => input.u32()) };
}

export function putMounted(out: XdrWriter, { handle, flavors }: MountResult): void {
  out.u32(MountStatus.OK).opaque(handle).u32(flavors.length);
  for (const flavor of flavors) out.u32(flavor);
}

/** One export: its path, and who may mount it; nobody named means everybody. */
export interface ExportEntry {
  readonly path: Uint8Array;
  readonly groups: readonly Uint8Array[];
}

/** EXPORT. */
export function getExports(input: XdrReader): ExportEntry[] {
  const entries: ExportEntry[] = [];
  while (input.bool()) {
    if (entries.length === LIST_MAX) input.fail(`more than ${LIST_MAX} exports`);
    const path = getMountPath(input);
    const groups: Uint8Array[] = [];
    while (input.bool()) {
      if (groups.length === LIST_MAX) input.fail(`more than ${LIST_MAX} groups`);
      groups.push(input.opaque(255, 'a group'));
    }
    entries.push({ path, groups });
  }
  return entries;
}

export function putExports(out: XdrWriter, entries: readonly ExportEntry[]): void {
  for (const { path, groups } of entries) {
    out.bool(true).opaque(path);
    for (const group of groups) out.bool(true).opaque(group);
    out.bool(false);
  }
  out.bool(false);
}
