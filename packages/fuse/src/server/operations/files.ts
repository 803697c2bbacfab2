/** Operations on open files: OPEN, CREATE, READ, WRITE, FLUSH, RELEASE, FSYNC, FALLOCATE, LSEEK, COPY_FILE_RANGE; SYNCFS. */
import { AllocateMode, Errno, type Inode, type NegErrno, OpenFile, OpenFlag, type Steps, settle } from '@tidemark/core';
import {
  Falloc,
  FopenFlag,
  FSYNC_DATA_ONLY,
  OFFSET_MAX,
  Opcode,
  RELEASE_FLOCK_UNLOCK,
  REPLY_HEAD_BYTES,
  Whence,
  WRITE_HEAD_BYTES,
  WRITE_KILL_SUIDGID,
} from '../../protocol/constants.js';
import { ENTRY_BYTES, OPEN_BYTES } from '../../protocol/replies.js';
import type { Request } from '../../protocol/request.js';
import type { Call, FuseService, Operation } from '../call.js';
import type { Handle } from '../handles.js';
import { dropOwner } from '../locks.js';
import type { Node } from '../nodes.js';
import { killPrivileges } from './attributes.js';
import { directoryOf, grantTo, inodeOf, nameAt, placeIn, validityOf } from './names.js';

/** Most that one COPY_FILE_RANGE copies: whoever asks for more asks again. */
const COPY_BYTES_MAX = 16 * 2 ** 20;
/** Flags of an open file that are the kernel's business: it made the file, it knows the end, it looked the name up. */
const KERNEL_FLAGS = OpenFlag.APPEND | OpenFlag.CREATE | OpenFlag.EXCLUSIVE | OpenFlag.NO_FOLLOW | OpenFlag.NONBLOCK;

/** The open file of a handle, of the call's node; `-EBADF`. */
export function handleOf(call: Call, number: number): Handle | NegErrno {
  const { node, service } = call;
  if (node === null) return -Errno.ESTALE;
  return service.handles.get(number, node) ?? -Errno.EBADF;
}

/** Flags to open a file with. The kernel reads files that are open for writing only, too, to fill its pages. */
function openFlags(flags: number): number {
  const access = (flags & OpenFlag.ACCESS_MODE) === OpenFlag.READ_ONLY ? OpenFlag.READ_ONLY : OpenFlag.READ_WRITE;
  return (flags & ~KERNEL_FLAGS & ~OpenFlag.ACCESS_MODE) | access;
}

/** Writes the end of an answer to OPEN or CREATE. */
function answerOpened(call: Call, at: number, node: Node, file: OpenFile): number {
  const isShared = file.inode.superblock.isShared;
  const number = call.service.handles.add(node, file);
  call.out.opened(at, number, node.isCacheTrue && !isShared ? FopenFlag.KEEP_CACHE : 0);
  node.isCacheTrue = true; // until somebody else changes it
  return at + OPEN_BYTES;
}

const open: Operation = {
  *run(call, request, { vfs, handles }) {
    const flags = openFlags(request.u32(0));
    const { node } = call;
    const inode = yield* inodeOf(call);
    if (typeof inode === 'number') return inode;
    if (node === null || !handles.hasRoom) {
      inode.superblock.put(inode);
      return -Errno.ENFILE;
    }
    const file = yield* vfs.openInode(call.who, inode, flags);
    return typeof file === 'number' ? file : answerOpened(call, 0, node, file);
  },
};

/** Makes the file, or finds the one that somebody made since the kernel looked. */
function* makeOrFind(call: Call, dir: Inode, name: string, flags: number, mode: number): Steps<OpenFile | NegErrno> {
  const { vfs } = call.service;
  const made = yield* vfs.directories.makeIn(call.who, placeIn(dir, name), { mode, owner: call.owner });
  if (typeof made !== 'number') return new OpenFile(made, openFlags(flags), vfs.openFiles);
  if (made !== -Errno.EEXIST || (flags & OpenFlag.EXCLUSIVE) !== 0) return made;
  const there = yield* vfs.walk.lookup(call.task, dir, name);
  return typeof there === 'number' ? there : yield* vfs.openInode(call.who, there, openFlags(flags));
}

const create: Operation = {
  *run(call, request, { handles, nodes }) {
    const flags = request.u32(0);
    const mode = request.u32(4);
    const name = nameAt(request, 16);
    if (typeof name === 'number') return name;
    if (!handles.hasRoom) return -Errno.ENFILE;
    const dir = yield* directoryOf(call, call.nodeId);
    if (typeof dir === 'number') return dir;
    const file = yield* makeOrFind(call, dir, name, flags, mode);
    dir.superblock.put(dir);
    if (typeof file === 'number') return file;
    const node = yield* grantTo(call, file.inode);
    if (typeof node === 'number') {
      file.release();
      return node;
    }
    call.out.entry(0, node.id, file.inode, nodes.inoOf(file.inode), validityOf(call.service, file.inode));
    return answerOpened(call, ENTRY_BYTES, node, file);
  },
};

const read: Operation = {
  *run(call, request, { vfs, replySlots, sizes }) {
    const number = request.u64(0);
    const offsetBytes = request.u64(8);
    const sizeBytes = Math.min(request.u32(16), sizes.transferBytes);
    const handle = handleOf(call, number);
    if (typeof handle === 'number') return handle;
    if (offsetBytes > OFFSET_MAX) return 0;
    call.replySlot = yield* settle(replySlots.getSlow());
    call.out = call.replySlot.reply;
    const target = call.out.bytes.subarray(REPLY_HEAD_BYTES, REPLY_HEAD_BYTES + sizeBytes);
    return yield* readFully(call, handle, target, offsetBytes, vfs);
  },
};

/** Reads until the target is full or the file ends: the kernel takes what is missing for the end. */
function* readFully(call: Call, { file }: Handle, target: Uint8Array, offsetBytes: number, vfs: FuseService['vfs']): Steps<number> {
  let done = 0;
  while (done < target.length) {
    const got = yield* settle(vfs.data.read(call.who, file, done === 0 ? target : target.subarray(done), offsetBytes + done));
    if (got < 0) return done > 0 ? done : got;
    if (got === 0) break;
    done += got;
  }
  return done;
}

/** Who writes: paused by what is dirty of the device it writes to, and by nothing else. */
function writerOf(call: Call, { file }: Handle): Call['who'] {
  const { pages } = file.inode;
  return pages === null ? call.who : { ...call.who, task: call.task.localThrottle(pages.backingKey) };
}

const write: Operation = {
  keepsRequest: true,
  *run(call, request, { vfs }) {
    const offsetBytes = request.u64(8);
    const sizeBytes = request.u32(16);
    const flags = request.u32(20);
    const source = request.data(WRITE_HEAD_BYTES, sizeBytes);
    const handle = handleOf(call, request.u64(0));
    if (typeof handle === 'number') return handle;
    if (source === null) return -Errno.EINVAL;
    if (offsetBytes + sizeBytes > OFFSET_MAX) return -Errno.EFBIG;
    if (!handle.isStripped || (flags & WRITE_KILL_SUIDGID) !== 0) {
      const stripped = yield* killPrivileges(call, handle.file.inode, (flags & WRITE_KILL_SUIDGID) !== 0);
      if (stripped < 0) return stripped;
      handle.isStripped = true;
    }
    const written = yield* vfs.data.write(writerOf(call, handle), handle.file, source, offsetBytes);
    return written < 0 ? written : answerWritten(call, written);
  },
};

function answerWritten({ out }: Call, bytes: number): number {
  out.u32(0, bytes);
  out.u32(4, 0);
  return 8;
}

/** One of several closes of a file: it is told what could not be written back, and its owner's locks go. */
const flush: Operation = {
  // biome-ignore lint/correctness/useYield: nothing is waited for
  *run(call, request) {
    const handle = handleOf(call, request.u64(0));
    if (typeof handle === 'number') return handle;
    dropOwner(handle.node, handle.file.inode, request.key(16), false);
    return handle.file.takeError();
  },
};

/** RELEASE and RELEASEDIR: the last close. */
const release: Operation = {
  // biome-ignore lint/correctness/useYield: nothing is waited for
  *run(call, request, { handles }) {
    const number = request.u64(0);
    const handle = handleOf(call, number);
    if (typeof handle === 'number') return handle;
    if ((request.u32(12) & RELEASE_FLOCK_UNLOCK) !== 0) dropOwner(handle.node, handle.file.inode, request.key(16), true);
    handles.close(number);
    return 0;
  },
};

/** FSYNC and FSYNCDIR. */
const fsync: Operation = {
  *run(call, request, { vfs }) {
    const dataOnly = (request.u32(8) & FSYNC_DATA_ONLY) !== 0;
    const handle = handleOf(call, request.u64(0));
    return typeof handle === 'number' ? handle : yield* vfs.data.sync(call.task, handle.file, dataOnly);
  },
};

/** What core calls a mode of fallocate(2); `-EOPNOTSUPP` for those that change what is where. */
function allocateModeOf(mode: number, isBehindEnd: boolean): number {
  switch (mode) {
    case 0:
      return AllocateMode.RESERVE;
    case Falloc.KEEP_SIZE:
      return AllocateMode.KEEP_SIZE;
    case Falloc.PUNCH_HOLE | Falloc.KEEP_SIZE:
      return AllocateMode.PUNCH_HOLE;
    case Falloc.ZERO_RANGE:
      return AllocateMode.ZERO_RANGE;
    case Falloc.ZERO_RANGE | Falloc.KEEP_SIZE:
      return isBehindEnd ? -Errno.EOPNOTSUPP : AllocateMode.ZERO_RANGE;
    default:
      return -Errno.EOPNOTSUPP;
  }
}

const fallocate: Operation = {
  *run(call, request, { vfs }) {
    const offsetBytes = request.u64(8);
    const lengthBytes = request.u64(16);
    const linuxMode = request.u32(24);
    const handle = handleOf(call, request.u64(0));
    if (typeof handle === 'number') return handle;
    const { file } = handle;
    const mode = allocateModeOf(linuxMode, offsetBytes + lengthBytes > file.inode.sizeBytes);
    if (mode < 0) return mode;
    return yield* vfs.data.allocate(writerOf(call, handle), file, mode, offsetBytes, lengthBytes);
  },
};

const lseek: Operation = {
  *run(call, request, { vfs }) {
    const offsetBytes = request.u64(8);
    const whence = request.u32(16);
    const handle = handleOf(call, request.u64(0));
    if (typeof handle === 'number') return handle;
    if (whence !== Whence.DATA && whence !== Whence.HOLE) return -Errno.EINVAL;
    const at = yield* vfs.data.seek(call.who, handle.file, offsetBytes, whence === Whence.DATA);
    if (at < 0) return at;
    call.out.u64(0, at);
    return 8;
  },
};

const copyFileRange: Operation = {
  *run(call, request, { vfs, handles, nodes, replySlots, sizes }) {
    const fromHandle = handleOf(call, request.u64(0));
    const from = request.u64(8);
    const toNode = nodes.byId(request.u64(16));
    const toHandle = toNode === null ? null : handles.get(request.u64(24), toNode);
    const to = request.u64(32);
    const length = Math.min(request.u64(40), COPY_BYTES_MAX);
    if (typeof fromHandle === 'number') return fromHandle;
    if (toHandle === null) return -Errno.EBADF;
    if (from + length > OFFSET_MAX || to + length > OFFSET_MAX) return -Errno.EFBIG;
    const slot = yield* settle(replySlots.getSlow());
    try {
      let done = 0;
      while (done < length) {
        const piece = slot.bytes.subarray(0, Math.min(length - done, sizes.transferBytes));
        const got = yield* readFully(call, fromHandle, piece, from + done, vfs);
        if (got < 0 && done === 0) return got;
        if (got <= 0) break;
        const put = yield* vfs.data.write(writerOf(call, toHandle), toHandle.file, piece.subarray(0, got), to + done);
        if (put < 0 && done === 0) return put;
        done += Math.max(put, 0);
        if (put < got || call.task.checkSignal() < 0) break;
      }
      return answerWritten(call, done);
    } finally {
      replySlots.put(slot);
    }
  },
};

const syncfs: Operation = {
  *run(call, _request: Request, { vfs }) {
    const inode = yield* inodeOf(call);
    if (typeof inode === 'number') return inode;
    const status = yield* vfs.mounts.sync(call.task, inode.superblock);
    inode.superblock.put(inode);
    return status;
  },
};

export const FILE_OPERATIONS: readonly (readonly [number, Operation])[] = [
  [Opcode.OPEN, open],
  [Opcode.CREATE, create],
  [Opcode.READ, read],
  [Opcode.WRITE, write],
  [Opcode.FLUSH, flush],
  [Opcode.RELEASE, release],
  [Opcode.RELEASEDIR, release],
  [Opcode.FSYNC, fsync],
  [Opcode.FSYNCDIR, fsync],
  [Opcode.FALLOCATE, fallocate],
  [Opcode.LSEEK, lseek],
  [Opcode.COPY_FILE_RANGE, copyFileRange],
  [Opcode.SYNCFS, syncfs],
];
