/** Operations on what a file is: GETATTR, SETATTR, ACCESS, STATFS, extended attributes. */
import {
  encodeName,
  Errno,
  type Inode,
  NAME_MAX,
  type NegErrno,
  PERMISSION_BITS,
  permission,
  S_ISGID,
  S_ISUID,
  type Steps,
  settle,
  type TimesChange,
  type XattrMode,
} from '@tidemark/core';
import { Opcode, SetAttribute, XattrFlag } from '../../protocol/constants.js';
import { ATTR_OUT_BYTES, STATFS_BYTES } from '../../protocol/replies.js';
import type { Request } from '../../protocol/request.js';
import type { Call, Operation } from '../call.js';
import { inodeOf, validityOf } from './names.js';

const MS_PER_S = 1000;
const NS_PER_MS = 1e6;
/** Execute permission of the group: with it, S_ISGID is a privilege. */
const GROUP_EXECUTE = 0o010;

/** What gives a program privileges of its own. */
const CAPABILITY = 'security.capability';

/** Does something with the inode of the call, and gives it back. */
export function* withInode(call: Call, work: (inode: Inode) => Steps<number>): Steps<number> {
  const inode = yield* inodeOf(call);
  if (typeof inode === 'number') return inode;
  try {
    return yield* work(inode);
  } finally {
    inode.superblock.put(inode);
  }
}

function answerAttributes({ out, service }: Call, inode: Inode): number {
  out.attributesOut(0, inode, service.nodes.inoOf(inode), validityOf(service, inode));
  return ATTR_OUT_BYTES;
}

const getattr: Operation = {
  run: (call, _request, { vfs }) =>
    withInode(call, function* (inode) {
      const status = yield* vfs.refresh(call.task, inode);
      return status < 0 ? status : answerAttributes(call, inode);
    }),
};

/** What a SETATTR asks for. */
interface Wanted {
  readonly sizeBytes: number | null;
  readonly mode: number | null;
  readonly uid: number;
  readonly gid: number;
  readonly times: TimesChange | null;
  readonly killsPrivileges: boolean;
}

function timeAt(request: Request, valid: number, bit: number, nowBit: number, at: number, nsAt: number): number | 'now' | undefined {
  if ((valid & bit) === 0) return undefined;
  return (valid & nowBit) !== 0 ? 'now' : request.seconds(at) * MS_PER_S + request.u32(nsAt) / NS_PER_MS;
}

function readWanted(request: Request): Wanted {
  const valid = request.u32(0);
  const has = (bit: number): boolean => (valid & bit) !== 0;
  const accessed = timeAt(request, valid, SetAttribute.ATIME, SetAttribute.ATIME_NOW, 32, 56);
  const modified = timeAt(request, valid, SetAttribute.MTIME, SetAttribute.MTIME_NOW, 40, 60);
  return {
    sizeBytes: has(SetAttribute.SIZE) ? request.u64(16) : null,
    mode: has(SetAttribute.MODE) ? request.u32(68) : null,
    uid: has(SetAttribute.UID) ? request.u32(76) : -1,
    gid: has(SetAttribute.GID) ? request.u32(80) : -1,
    times: accessed === undefined && modified === undefined ? null : { accessed, modified },
    killsPrivileges: has(SetAttribute.KILL_SUIDGID),
  };
}

/** Takes away what a changed program must not keep: set-user-ID, set-group-ID where the group may execute, capabilities. */
export function* killPrivileges(call: Call, inode: Inode, killsIds: boolean): Steps<NegErrno> {
  const { attributes } = call.service.vfs;
  const bits = inode.mode & PERMISSION_BITS;
  const kept = bits & ~(S_ISUID | ((bits & GROUP_EXECUTE) !== 0 ? S_ISGID : 0));
  const status = killsIds && kept !== bits ? yield* attributes.changeMode(call.who, inode, kept) : 0;
  if (status < 0) return status;
  const capability = yield* attributes.getXattr(call.who, inode, CAPABILITY); // mostly there is none, and looking is cheaper than changing
  return typeof capability === 'number' ? 0 : yield* attributes.removeXattr(call.who, inode, CAPABILITY);
}

function* change(call: Call, inode: Inode, wanted: Wanted): Steps<NegErrno> {
  const { who } = call;
  const { attributes } = call.service.vfs;
  const { sizeBytes, mode, uid, gid, times } = wanted;
  let status: NegErrno = 0;
  if (sizeBytes !== null) status = yield* attributes.changeSize(who, inode, sizeBytes);
  if (status === 0 && (uid !== -1 || gid !== -1)) status = yield* attributes.changeOwner(who, inode, uid, gid);
  if (status === 0 && mode !== null) status = yield* attributes.changeMode(who, inode, mode);
  const losesPrivileges = inode.isRegular && (wanted.killsPrivileges || sizeBytes !== null || uid !== -1 || gid !== -1);
  if (status === 0 && losesPrivileges) status = yield* killPrivileges(call, inode, wanted.killsPrivileges);
  if (status === 0 && times !== null) status = yield* attributes.changeTimes(who, inode, times);
  return status;
}

const setattr: Operation = {
  run: (call, request) => {
    const wanted = readWanted(request);
    return withInode(call, function* (inode) {
      const status = yield* change(call, inode, wanted);
      return status < 0 ? status : answerAttributes(call, inode);
    });
  },
};

const access: Operation = {
  run: (call, request) => {
    const wanted = request.u32(0);
    // biome-ignore lint/correctness/useYield: what is in memory is looked at
    return withInode(call, function* (inode) {
      return permission({ uid: call.uid, gid: call.gid, groups: [] }, inode, wanted & 7);
    });
  },
};

const statfs: Operation = {
  run: (call) =>
    withInode(call, function* ({ superblock }) {
      const room = yield* settle(superblock.ops.room(call.task));
      if (typeof room === 'number') return room;
      call.out.room(room, superblock.blockSizeBytes, NAME_MAX);
      return STATFS_BYTES;
    }),
};

/** Answers GETXATTR and LISTXATTR: the value, or how long it is. */
function answerValue(call: Call, value: Uint8Array, sizeBytes: number): number {
  const { out } = call;
  if (sizeBytes === 0) {
    out.u32(0, value.length);
    out.u32(4, 0);
    return 8;
  }
  if (value.length > sizeBytes) return -Errno.ERANGE;
  if (value.length > out.roomBytes) return -Errno.EOVERFLOW;
  out.bytes.set(value, 16);
  return value.length;
}

/**
 * ACLs are not seen through a mount: Linux enforces them only for filesystems that say they do it themselves, and programs that find none take
 * the mode.
 */
const ACL_PREFIX = 'system.posix_acl_';

function xattrNameAt(request: Request, at: number): string | NegErrno {
  const text = request.text(at);
  if (text === null || text === '') return -Errno.EINVAL;
  return text.startsWith(ACL_PREFIX) ? -Errno.EOPNOTSUPP : text;
}

const getxattr: Operation = {
  *run(call, request, { vfs }) {
    const sizeBytes = request.u32(0);
    const name = xattrNameAt(request, 8);
    if (typeof name === 'number') return name;
    return yield* withInode(call, function* (inode) {
      const value = yield* vfs.attributes.getXattr(call.who, inode, name);
      return typeof value === 'number' ? value : answerValue(call, value, sizeBytes);
    });
  },
};

const listxattr: Operation = {
  run: (call, request, { vfs }) => {
    const sizeBytes = request.u32(0);
    return withInode(call, function* (inode) {
      const names = yield* vfs.attributes.listXattrs(call.who, inode);
      if (typeof names === 'number') return names;
      const seen = names.filter((name) => !name.startsWith(ACL_PREFIX));
      return answerValue(call, encodeName(seen.map((name) => `${name}\0`).join('')), sizeBytes);
    });
  },
};

const setxattr: Operation = {
  keepsRequest: true,
  *run(call, request, { vfs }) {
    const length = request.u32(0);
    const flags = request.u32(4);
    const name = xattrNameAt(request, 8);
    if (typeof name === 'number') return name;
    const value = request.data(request.behindText(8), length);
    if (value === null || (flags & ~(XattrFlag.CREATE | XattrFlag.REPLACE)) !== 0) return -Errno.EINVAL;
    const mode: XattrMode = (flags & XattrFlag.CREATE) !== 0 ? 'create' : (flags & XattrFlag.REPLACE) !== 0 ? 'replace' : 'either';
    return yield* withInode(call, (inode) => vfs.attributes.setXattr(call.who, inode, name, value, mode));
  },
};

const removexattr: Operation = {
  *run(call, request, { vfs }) {
    const name = xattrNameAt(request, 0);
    if (typeof name === 'number') return name;
    return yield* withInode(call, (inode) => vfs.attributes.removeXattr(call.who, inode, name));
  },
};

export const ATTRIBUTE_OPERATIONS: readonly (readonly [number, Operation])[] = [
  [Opcode.GETATTR, getattr],
  [Opcode.SETATTR, setattr],
  [Opcode.ACCESS, access],
  [Opcode.STATFS, statfs],
  [Opcode.GETXATTR, getxattr],
  [Opcode.LISTXATTR, listxattr],
  [Opcode.SETXATTR, setxattr],
  [Opcode.REMOVEXATTR, removexattr],
];
