/** Procedures that read names and take them away: LOOKUP, READLINK, REMOVE, RMDIR, RENAME, LINK. What makes files is in create-procedures.ts. */
import { Access as Permission, encodeName, type Inode, type NegErrno, type Parent, permission, readLink, type Steps } from '@tidemark/core';
import { getDirectoryArguments, getLink, getRename } from '../../protocol/arguments.js';
import { putOptionalAttributes, putWcc } from '../../protocol/attributes.js';
import { Nfs3, NfsStatus, PATH_BYTES_MAX } from '../../protocol/nfs3-constants.js';
import { putLookup } from '../../protocol/results.js';
import { placeOf, readHandle } from '../arguments.js';
import { type Call, nfsProcedure, type Procedure, statusOf } from '../call.js';
import { changing, Subject } from '../subject.js';

/** A name in a directory that the call has, as the VFS wants it. */
export function parentOf({ inode }: Subject, name: string): Parent {
  return { dir: inode, name, mustBeDirectory: false, nrLinks: 0 };
}

/** What a name in a directory stands for, with a reference; what is mounted on it is not entered. The right to search is the caller's to check. */
export function* childOf(call: Call, directory: Subject, name: string): Steps<Inode | NegErrno> {
  const { inode: dir } = directory;
  const { walk } = call.service.vfs;
  if (name === '.' || name === '..') {
    dir.nrRefs++; // for `step`, which takes it over
    return yield* walk.step(call.who(directory), parentOf(directory, name));
  }
  const found = yield* walk.lookup(call.task, dir, name);
  return typeof found === 'number' ? found : beneathMounts(found, dir);
}

/** The inode that the root of a mount hides, in the filesystem of `dir`; in exchange for the reference. */
function beneathMounts(inode: Inode, dir: Inode): Inode {
  let at = inode;
  while (at.superblock !== dir.superblock && at.superblock.mountpoint !== null) at = at.superblock.mountpoint;
  if (at === inode) return inode;
  at.nrRefs++;
  inode.superblock.put(inode);
  return at;
}

const lookup = nfsProcedure(Nfs3.LOOKUP, {
  read: (input, service) => placeOf(getDirectoryArguments(input), service),
  *run(call, { handle, name, status }) {
    const directory = yield* call.subject(handle);
    if (typeof directory === 'number') return directory;
    if (!directory.inode.isDirectory) return NfsStatus.NOTDIR;
    if (status !== NfsStatus.OK) return status;
    const refused = permission(call.who(directory).credentials, directory.inode, Permission.EXECUTE);
    if (refused < 0) return statusOf(refused);
    const inode = yield* childOf(call, directory, name);
    if (typeof inode === 'number') return statusOf(inode);
    const found = new Subject(directory.target, inode);
    call.subjects.push(found);
    const result = { handle: call.handleOf(directory, inode), attributes: found.attributes, directory: directory.attributes };
    putLookup(call.out.u32(NfsStatus.OK), result);
    return NfsStatus.OK;
  },
});

const readlink = nfsProcedure(Nfs3.READLINK, {
  read: readHandle,
  resultBytes: () => 128 + PATH_BYTES_MAX,
  *run(call, handle) {
    const subject = yield* call.subject(handle);
    if (typeof subject === 'number') return subject;
    if (!subject.inode.isSymlink) return NfsStatus.INVAL;
    const target = yield* readLink(call.task, subject.inode);
    if (typeof target === 'number') return statusOf(target);
    const bytes = encodeName(target);
    if (bytes.length > PATH_BYTES_MAX) return NfsStatus.NAMETOOLONG;
    putOptionalAttributes(call.out.u32(NfsStatus.OK), subject.attributes);
    call.out.opaque(bytes);
    return NfsStatus.OK;
  },
});

/** REMOVE, or RMDIR. */
function removal(number: number, isRmdir: boolean): Procedure {
  return nfsProcedure(number, {
    isUpdate: true,
    read: (input, service) => placeOf(getDirectoryArguments(input), service),
    *run(call, { handle, name, status }) {
      const directory = yield* call.changeable(handle);
      if (typeof directory === 'number') return directory;
      if (!directory.inode.isDirectory) return NfsStatus.NOTDIR;
      if (status !== NfsStatus.OK) return status;
      const { vfs, files } = call.service;
      const parent = parentOf(directory, name);
      const removed = yield* changing([directory], vfs.directories.removeIn(call.who(directory), parent, isRmdir));
      if (removed < 0) return statusOf(removed);
      files.dropUnlinked();
      const durable = yield* call.makeDurable([directory.inode]);
      if (durable < 0) return statusOf(durable);
      putWcc(call.out.u32(NfsStatus.OK), directory.wcc);
      return NfsStatus.OK;
    },
  });
}

function isDots(name: string): boolean {
  return name === '.' || name === '..';
}

const rename = nfsProcedure(Nfs3.RENAME, {
  isUpdate: true,
  read: (input, service) => {
    const { from, to } = getRename(input);
    return { from: placeOf(from, service), to: placeOf(to, service) };
  },
  *run(call, { from, to }) {
    const fromDir = yield* call.changeable(from.handle);
    if (typeof fromDir === 'number') return fromDir;
    const toDir = yield* call.changeable(to.handle);
    if (typeof toDir === 'number') return toDir;
    if (fromDir.target !== toDir.target) return NfsStatus.XDEV;
    if (!fromDir.inode.isDirectory || !toDir.inode.isDirectory) return NfsStatus.NOTDIR;
    const refused = from.status || to.status;
    if (refused !== NfsStatus.OK) return refused;
    if (isDots(from.name) || isDots(to.name)) return NfsStatus.INVAL;
    const { vfs, files } = call.service;
    const move = vfs.directories.renameIn(call.who(fromDir), parentOf(fromDir, from.name), parentOf(toDir, to.name), 0);
    const moved = yield* changing([fromDir, toDir], move);
    if (moved < 0) return statusOf(moved);
    files.dropUnlinked();
    const durable = yield* call.makeDurable(fromDir.inode === toDir.inode ? [fromDir.inode] : [fromDir.inode, toDir.inode]);
    if (durable < 0) return statusOf(durable);
    putWcc(call.out.u32(NfsStatus.OK), fromDir.wcc);
    putWcc(call.out, toDir.wcc);
    return NfsStatus.OK;
  },
});

const link = nfsProcedure(Nfs3.LINK, {
  isUpdate: true,
  read: (input, service) => {
    const { handle, to } = getLink(input);
    return { handle: service.handles.decode(handle), to: placeOf(to, service) };
  },
  *run(call, { handle, to }) {
    const file = yield* call.changeable(handle);
    if (typeof file === 'number') return file;
    const directory = yield* call.changeable(to.handle);
    if (typeof directory === 'number') return directory;
    if (file.target !== directory.target) return NfsStatus.XDEV;
    if (!directory.inode.isDirectory) return NfsStatus.NOTDIR;
    if (to.status !== NfsStatus.OK) return to.status;
    const { directories } = call.service.vfs;
    const linked = yield* changing([file, directory], directories.linkIn(call.who(directory), file.inode, parentOf(directory, to.name)));
    if (linked < 0) return statusOf(linked);
    const durable = yield* call.makeDurable([directory.inode, file.inode]);
    if (durable < 0) return statusOf(durable);
    putOptionalAttributes(call.out.u32(NfsStatus.OK), file.attributes);
    putWcc(call.out, directory.wcc);
    return NfsStatus.OK;
  },
});

export const NAME_PROCEDURES: Readonly<Record<number, Procedure>> = {
  [Nfs3.LOOKUP]: lookup,
  [Nfs3.READLINK]: readlink,
  [Nfs3.REMOVE]: removal(Nfs3.REMOVE, false),
  [Nfs3.RMDIR]: removal(Nfs3.RMDIR, true),
  [Nfs3.RENAME]: rename,
  [Nfs3.LINK]: link,
};
