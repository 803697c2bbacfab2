/**
 * MOUNT version 3: handles of exports for their paths. A directory below an export can be mounted too; the caller must be able to get there.
 * Who has mounted what is not kept: DUMP names nobody, UMNT and UMNTALL have nothing to do.
 */
import { decodeName, encodeName, errnoOf, type Inode, type NegErrno, type Steps } from '@tidemark/core';
import { getMountPath, MountStatus, mountStatusOfErrno, putExports, putMounted } from '../protocol/mount3.js';
import { HANDLE_BYTES_MAX, Mount3 } from '../protocol/nfs3-constants.js';
import { AuthFlavor } from '../rpc/rpc-message.js';
import { padded } from '../xdr/xdr-reader.js';
import type { Call, Prepared, Procedure } from './call.js';
import type { Export, ExportTable } from './export-table.js';
import { Subject } from './subject.js';

const FLAVORS = [AuthFlavor.SYS, AuthFlavor.NONE];
const MOUNTED_BYTES = 4 + 4 + HANDLE_BYTES_MAX + 4 + 4 * FLAVORS.length;

/** The directory of a path below an export, with a reference. */
function* directoryOf(call: Call, target: Export, rest: string): Steps<Inode | NegErrno> {
  const { root } = target;
  root.nrRefs++;
  if (rest === '') return root;
  const who = target.caller(call.task, target.credentialsOf(call.credentials), root);
  const inode = yield* call.service.vfs.resolve(who, rest, true);
  root.superblock.put(root);
  return inode;
}

function* mount(call: Call, path: string): Steps<number> {
  const place = call.service.exports.under(path);
  if (place === null) return MountStatus.NOENT;
  const { found: target, rest } = place;
  if (!target.admits(call.caller.host)) return MountStatus.ACCES;
  const inode = yield* directoryOf(call, target, rest);
  if (typeof inode === 'number') return mountStatusOfErrno(inode);
  const subject = new Subject(target, inode);
  call.subjects.push(subject);
  if (inode.superblock !== target.superblock) return MountStatus.ACCES; // what is mounted inside is not exported with it
  if (!inode.isDirectory) return MountStatus.NOTDIR;
  putMounted(call.out, { handle: call.handleOf(subject, inode), flavors: FLAVORS });
  return MountStatus.OK;
}

const mnt: Procedure = {
  isUpdate: false,
  prepare(input): Prepared {
    const path = decodeName(getMountPath(input));
    return {
      resultBytes: MOUNTED_BYTES,
      *run(call) {
        let status: number;
        try {
          status = yield* mount(call, path);
        } catch (error) {
          call.service.onBug(error);
          status = mountStatusOfErrno(errnoOf(error));
        }
        if (status !== MountStatus.OK) call.out.u32(status);
      },
    };
  },
};

/** Answers without work. */
function atOnce(resultBytes: (exports: ExportTable) => number, write: (call: Call) => void): Procedure {
  return {
    isUpdate: false,
    prepare: (_input, { exports }) => ({
      resultBytes: resultBytes(exports),
      // biome-ignore lint/correctness/useYield: there is nothing to wait for
      *run(call) {
        write(call);
      },
    }),
  };
}

/** Bytes of the answer to EXPORT. */
export function exportListBytes({ list }: ExportTable): number {
  let bytes = 4;
  for (const { path, hosts } of list) {
    bytes += 8 + padded(encodeName(path).length) + 4;
    for (const host of hosts) bytes += 8 + padded(host.length);
  }
  return bytes;
}

function putExportList({ out, service }: Call): void {
  const entries = service.exports.list.map(({ path, hosts }) => ({ path: encodeName(path), groups: hosts.map(encodeName) }));
  putExports(out, entries);
}

export const MOUNT_PROCEDURES: Readonly<Record<number, Procedure>> = {
  [Mount3.MNT]: mnt,
  [Mount3.DUMP]: atOnce(
    () => 4,
    ({ out }) => void out.bool(false),
  ),
  [Mount3.UMNT]: atOnce(
    () => 0,
    () => {},
  ),
  [Mount3.UMNTALL]: atOnce(
    () => 0,
    () => {},
  ),
  [Mount3.EXPORT]: atOnce(exportListBytes, putExportList),
};
