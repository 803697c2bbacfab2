/**
 * Reading directories: OPENDIR, READDIR, READDIRPLUS. The kernel's place in a directory is core's cookie and two more, for `.` and `..`:
 *
 *     0 before `.`   1 before `..`   2 before the first entry   2 + cookie behind an entry
 */
import { type DirectoryEntry, encodeName, Errno, FileType, type Inode, type NegErrno, type Steps } from '@tidemark/core';
import { Opcode } from '../../protocol/constants.js';
import { direntBytes, ENTRY_BYTES } from '../../protocol/replies.js';
import type { Call, Operation } from '../call.js';
import type { Node } from '../nodes.js';
import { handleOf } from './files.js';
import { grantTo, inodeOf, validityOf } from './names.js';

const DOTS = [encodeName('.'), encodeName('..')];
/** Most entries looked at for one reply. */
const ENTRIES_MAX = 512;

const opendir: Operation = {
  *run(call, _request, { handles }) {
    const { node } = call;
    const inode = yield* inodeOf(call);
    if (typeof inode === 'number') return inode;
    if (node === null || !inode.isDirectory) {
      inode.superblock.put(inode);
      return -Errno.ENOTDIR;
    }
    const number = handles.addDirectory(node, inode);
    if (number < 0) return number;
    call.out.opened(0, number, 0);
    return 16;
  },
};

/** Puts `.` and `..` where the kernel begins. @returns where the next entry goes. */
function putDots(call: Call, dir: Inode, from: number, end: number, isPlus: boolean): number {
  const { nodes } = call.service;
  const above = dir.namedBy?.dir ?? dir;
  let at = 0;
  for (let dot = from; dot < DOTS.length; dot++) {
    const ino = nodes.inoOf(dot === 0 ? dir : above);
    const next = call.out.directoryEntry(at + (isPlus ? ENTRY_BYTES : 0), end, ino, dot + 1, FileType.DIRECTORY, DOTS[dot]);
    if (next < 0) break;
    if (isPlus) call.out.noEntry(at, 0); // these two are not counted
    at = next;
  }
  return at;
}

/** Entries behind the kernel's place; `.` and `..` are not among them. */
function* entriesBehind(
  call: Call,
  dir: Inode,
  place: number,
  least: number,
  sizeBytes: number,
): Steps<readonly DirectoryEntry[] | NegErrno> {
  const nrMost = Math.min(Math.max(Math.floor(sizeBytes / least), 1), ENTRIES_MAX);
  return yield* call.service.vfs.readDirectory(call.who, dir, Math.max(place - DOTS.length, 0), nrMost);
}

const readdir: Operation = {
  *run(call, request, { nodes }) {
    const place = request.u64(8);
    const sizeBytes = Math.min(request.u32(16), call.out.roomBytes);
    const handle = handleOf(call, request.u64(0));
    if (typeof handle === 'number') return handle;
    const dir = handle.file.inode;
    const entries = yield* entriesBehind(call, dir, place, direntBytes(DOTS[0]), sizeBytes);
    if (typeof entries === 'number') return entries;
    const inoBase = nodes.inoOf(dir) - dir.ino;
    let at = putDots(call, dir, place, sizeBytes, false);
    for (const { name, ino, type, cookie } of entries) {
      const next = call.out.directoryEntry(at, sizeBytes, inoBase + ino, cookie + DOTS.length, type, encodeName(name));
      if (next < 0) break;
      at = next;
    }
    return at;
  },
};

/** An entry that was looked at: its file, with a reference, and the node it was granted; or neither. */
interface Seen {
  readonly entry: DirectoryEntry;
  readonly name: Uint8Array;
  readonly inode: Inode | null;
  readonly node: Node | null;
}

/** Looks at entries until they fill the reply. What cannot be looked at is listed all the same. */
function* lookAt(call: Call, dir: Inode, entries: readonly DirectoryEntry[], from: number, end: number): Steps<readonly Seen[]> {
  const seen: Seen[] = [];
  let at = from;
  for (const entry of entries) {
    const name = encodeName(entry.name);
    at += ENTRY_BYTES + direntBytes(name);
    if (at > end) break;
    const inode = yield* call.service.vfs.walk.lookup(call.task, dir, entry.name);
    if (inode === -Errno.ENOENT) continue; // it has gone meanwhile
    const node = typeof inode === 'number' ? inode : yield* grantTo(call, inode);
    if (typeof node === 'number' && typeof inode !== 'number') inode.superblock.put(inode);
    const isGranted = typeof node !== 'number' && typeof inode !== 'number';
    seen.push({ entry, name, inode: isGranted ? inode : null, node: isGranted ? node : null });
  }
  return seen;
}

const readdirplus: Operation = {
  *run(call, request, { nodes }) {
    const place = request.u64(8);
    const sizeBytes = Math.min(request.u32(16), call.out.roomBytes);
    const handle = handleOf(call, request.u64(0));
    if (typeof handle === 'number') return handle;
    const dir = handle.file.inode;
    const entries = yield* entriesBehind(call, dir, place, ENTRY_BYTES + direntBytes(DOTS[0]), sizeBytes);
    if (typeof entries === 'number') return entries;
    const dotsBytes = Math.max(DOTS.length - place, 0) * (ENTRY_BYTES + direntBytes(DOTS[0]));
    const seen = yield* lookAt(call, dir, entries, dotsBytes, sizeBytes);
    let at = putDots(call, dir, place, sizeBytes, true);
    for (const { entry, name, inode, node } of seen) {
      const ino = inode === null ? entry.ino : nodes.inoOf(inode);
      const next = call.out.directoryEntry(at + ENTRY_BYTES, sizeBytes, ino, entry.cookie + DOTS.length, entry.type, name);
      if (inode === null || node === null) call.out.noEntry(at, 0);
      else {
        call.out.entry(at, node.id, inode, ino, validityOf(call.service, inode));
        inode.superblock.put(inode);
      }
      at = next;
    }
    return at;
  },
};

export const DIRECTORY_OPERATIONS: readonly (readonly [number, Operation])[] = [
  [Opcode.OPENDIR, opendir],
  [Opcode.READDIR, readdir],
  [Opcode.READDIRPLUS, readdirplus],
];
