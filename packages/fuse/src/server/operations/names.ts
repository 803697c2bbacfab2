/** Operations on names: LOOKUP, making, linking, removing, renaming; READLINK; what the kernel forgets. */
import {
  Errno,
  FileType,
  type Inode,
  NAME_MAX,
  nameBytes,
  type NegErrno,
  type NewFile,
  type Parent,
  readLink,
  type Steps,
} from '@tidemark/core';
import { Opcode } from '../../protocol/constants.js';
import { decodeDevice, ENTRY_BYTES, type Validity } from '../../protocol/replies.js';
import type { Request } from '../../protocol/request.js';
import type { Call, FuseService, Operation } from '../call.js';
import type { Node } from '../nodes.js';

/** For how long what others may change can be believed, in seconds. */
const SHARED_SECONDS = 1;
/** RENAME2's flags that are understood: NOREPLACE and EXCHANGE. */
const RENAME_FLAGS = 3;
/** Bytes of one node of BATCH_FORGET. */
const FORGET_ONE_BYTES = 16;

/** For how long the kernel may believe what it is told of an inode. */
export function validityOf({ options }: FuseService, { superblock }: Inode): Validity {
  if (!superblock.isShared) return options.validity;
  const { entrySeconds, attributeSeconds } = options.validity;
  return { entrySeconds: Math.min(entrySeconds, SHARED_SECONDS), attributeSeconds: Math.min(attributeSeconds, SHARED_SECONDS) };
}

/** The inode of the call's node, with a reference. */
export function* inodeOf(call: Call): Steps<Inode | NegErrno> {
  const { node } = call;
  return node === null ? -Errno.ESTALE : yield* call.service.nodes.inode(call.task, node);
}

/** The directory of a node's number, with a reference. */
export function* directoryOf(call: Call, nodeId: number): Steps<Inode | NegErrno> {
  const { nodes } = call.service;
  const node = nodes.byId(nodeId);
  if (node === null) return -Errno.ESTALE;
  const inode = yield* nodes.inode(call.task, node);
  if (typeof inode === 'number' || inode.isDirectory) return inode;
  inode.superblock.put(inode);
  return -Errno.ENOTDIR;
}

/** A name in the arguments: it, or the errno it is refused with. */
export function nameAt(request: Request, at: number): string | NegErrno {
  const name = at < 0 ? null : request.text(at);
  if (name === null || name === '' || name.includes('/')) return -Errno.EINVAL;
  const bytes = nameBytes(name);
  return bytes > NAME_MAX ? -Errno.ENAMETOOLONG : bytes < 0 ? bytes : name;
}

/** A name in a directory, for core. */
export function placeIn(dir: Inode, name: string): Parent {
  return { dir, name, mustBeDirectory: false, nrLinks: 0 };
}

/** Grants the kernel a node, to be taken back if the reply does not reach it. */
export function* grantTo(call: Call, inode: Inode): Steps<Node | NegErrno> {
  const node = yield* call.service.nodes.grant(call.task, inode);
  if (typeof node !== 'number') call.granted.push(node);
  return node;
}

/** Answers with a file, whose reference is taken over. */
export function* answerEntry(call: Call, inode: Inode): Steps<number> {
  const { service } = call;
  const node = yield* grantTo(call, inode);
  if (typeof node !== 'number') call.out.entry(0, node.id, inode, service.nodes.inoOf(inode), validityOf(service, inode));
  inode.superblock.put(inode);
  return typeof node === 'number' ? node : ENTRY_BYTES;
}

/** Does something in the directory of the call, and gives it back. */
function* within(call: Call, nodeId: number, work: (dir: Inode) => Steps<number>): Steps<number> {
  const dir = yield* directoryOf(call, nodeId);
  if (typeof dir === 'number') return dir;
  try {
    return yield* work(dir);
  } finally {
    dir.superblock.put(dir);
  }
}

const lookup: Operation = {
  *run(call, request, { vfs, options }) {
    const name = nameAt(request, 0);
    if (typeof name === 'number') return name;
    return yield* within(call, call.nodeId, function* (dir) {
      const inode = yield* vfs.walk.lookup(call.task, dir, name);
      if (typeof inode !== 'number') return yield* answerEntry(call, inode);
      if (inode !== -Errno.ENOENT || dir.superblock.isShared || options.validity.entrySeconds === 0) return inode;
      call.out.noEntry(0, options.validity.entrySeconds); // the kernel remembers that there is none, until it is told otherwise
      return ENTRY_BYTES;
    });
  },
};

/** Makes a file in the call's directory and answers with it. */
function make(call: Call, name: string | NegErrno, file: NewFile): Steps<number> {
  return within(call, call.nodeId, function* (dir) {
    if (typeof name === 'number') return name;
    const inode = yield* call.service.vfs.directories.makeIn(call.who, placeIn(dir, name), { ...file, owner: call.owner });
    return typeof inode === 'number' ? inode : yield* answerEntry(call, inode);
  });
}

const mknod: Operation = {
  run: (call, request) => {
    const mode = request.u32(0);
    const type = mode & FileType.MASK;
    const rdev = type === FileType.BLOCK_DEVICE || type === FileType.CHARACTER_DEVICE ? decodeDevice(request.u32(4)) : 0;
    return make(call, nameAt(request, 16), { mode: type === 0 ? mode | FileType.REGULAR : mode, rdev });
  },
};

const mkdir: Operation = {
  run: (call, request) => make(call, nameAt(request, 8), { mode: FileType.DIRECTORY | (request.u32(0) & ~FileType.MASK) }),
};

const symlink: Operation = {
  *run(call, request) {
    const name = nameAt(request, 0);
    const linkTarget = typeof name === 'number' ? null : request.text(request.behindText(0));
    if (typeof name === 'number') return name;
    if (linkTarget === null || linkTarget === '') return -Errno.EINVAL;
    return yield* make(call, name, { mode: FileType.SYMLINK | 0o777, linkTarget });
  },
};

const link: Operation = {
  *run(call, request, { vfs, nodes }) {
    const node = nodes.byId(request.u64(0));
    const name = nameAt(request, 8);
    if (typeof name === 'number') return name;
    const inode = node === null ? -Errno.ESTALE : yield* nodes.inode(call.task, node);
    if (typeof inode === 'number') return inode;
    const status = yield* within(call, call.nodeId, (dir) => vfs.directories.linkIn(call.who, inode, placeIn(dir, name)));
    if (status === 0) return yield* answerEntry(call, inode);
    inode.superblock.put(inode);
    return status;
  },
};

/** UNLINK and RMDIR. */
const remove: Operation = {
  *run(call, request, { vfs, nodes }) {
    const name = nameAt(request, 0);
    if (typeof name === 'number') return name;
    const isDirectory = call.opcode === Opcode.RMDIR;
    return yield* within(call, call.nodeId, function* (dir) {
      const inode = yield* vfs.walk.lookup(call.task, dir, name); // kept, so that who stands in it can go on standing there
      if (typeof inode === 'number') return inode;
      const status = yield* vfs.directories.removeIn(call.who, placeIn(dir, name), isDirectory);
      if (status === 0) nodes.lostName(inode);
      inode.superblock.put(inode);
      return status;
    });
  },
};

/** RENAME and RENAME2. */
const rename: Operation = {
  *run(call, request, { vfs, nodes }) {
    const hasFlags = call.opcode === Opcode.RENAME2;
    const flags = hasFlags ? request.u32(8) : 0;
    const toId = request.u64(0);
    const at = hasFlags ? 16 : 8;
    const fromName = nameAt(request, at);
    const toName = typeof fromName === 'number' ? fromName : nameAt(request, request.behindText(at));
    if (typeof fromName === 'number' || typeof toName === 'number') return toName as NegErrno;
    if ((flags & ~RENAME_FLAGS) !== 0) return -Errno.EINVAL;
    return yield* within(call, call.nodeId, (from) =>
      within(call, toId, function* (to) {
        const replaced = yield* vfs.walk.lookup(call.task, to, toName);
        const status = yield* vfs.directories.renameIn(call.who, placeIn(from, fromName), placeIn(to, toName), flags);
        if (typeof replaced !== 'number') {
          if (status === 0) nodes.lostName(replaced);
          replaced.superblock.put(replaced);
        }
        return status;
      }),
    );
  },
};

const readlink: Operation = {
  *run(call) {
    const inode = yield* inodeOf(call);
    if (typeof inode === 'number') return inode;
    const target = inode.isSymlink ? yield* readLink(call.task, inode) : -Errno.EINVAL;
    inode.superblock.put(inode);
    if (typeof target === 'number') return target;
    const bytes = call.out.text(target);
    return bytes < 0 ? -Errno.ENAMETOOLONG : bytes;
  },
};

/** FORGET: nothing waits for it, and it comes too often to be a call. */
export function forget(request: Request, { nodes }: FuseService): void {
  const node = nodes.byId(request.nodeId);
  if (node !== null) nodes.forget(node, request.u64(0));
}

/** BATCH_FORGET: many at once. */
export function forgetBatch(request: Request, { nodes }: FuseService): void {
  const wanted = request.u32(0);
  const nrThere = Math.floor((request.bodyBytes - 8) / FORGET_ONE_BYTES);
  for (let i = 0; i < Math.min(wanted, nrThere); i++) {
    const node = nodes.byId(request.u64(8 + i * FORGET_ONE_BYTES));
    if (node !== null) nodes.forget(node, request.u64(16 + i * FORGET_ONE_BYTES));
  }
}

export const NAME_OPERATIONS: readonly (readonly [number, Operation])[] = [
  [Opcode.LOOKUP, lookup],
  [Opcode.MKNOD, mknod],
  [Opcode.MKDIR, mkdir],
  [Opcode.SYMLINK, symlink],
  [Opcode.LINK, link],
  [Opcode.UNLINK, remove],
  [Opcode.RMDIR, remove],
  [Opcode.RENAME, rename],
  [Opcode.RENAME2, rename],
  [Opcode.READLINK, readlink],
];
