/**
 * Requests as they come from the kernel: a head of 40 bytes, then the arguments of the operation. One reader is used for all requests, so
 * whoever reads arguments does so before the next request comes.
 *
 *     head   0 length   4 opcode   8 unique   16 node   24 uid   28 gid   32 pid   36 length of extensions, in 8 bytes   38 -
 */
import { decodeName } from '@tidemark/core';
import { Opcode, REQUEST_HEAD_BYTES } from './constants.js';

/** 2^32, the weight of the upper half of a 64-bit number. */
const HIGH = 2 ** 32;

/** Least bytes of arguments by opcode; operations that are not here are not served. */
const BODY_BYTES_LEAST: ReadonlyMap<number, number> = new Map([
  [Opcode.LOOKUP, 2],
  [Opcode.FORGET, 8],
  [Opcode.GETATTR, 16],
  [Opcode.SETATTR, 88],
  [Opcode.READLINK, 0],
  [Opcode.SYMLINK, 4],
  [Opcode.MKNOD, 18],
  [Opcode.MKDIR, 10],
  [Opcode.UNLINK, 2],
  [Opcode.RMDIR, 2],
  [Opcode.RENAME, 12],
  [Opcode.LINK, 10],
  [Opcode.OPEN, 8],
  [Opcode.READ, 40],
  [Opcode.WRITE, 40],
  [Opcode.STATFS, 0],
  [Opcode.RELEASE, 24],
  [Opcode.FSYNC, 16],
  [Opcode.SETXATTR, 10],
  [Opcode.GETXATTR, 10],
  [Opcode.LISTXATTR, 8],
  [Opcode.REMOVEXATTR, 2],
  [Opcode.FLUSH, 24],
  [Opcode.INIT, 16],
  [Opcode.OPENDIR, 8],
  [Opcode.READDIR, 40],
  [Opcode.RELEASEDIR, 24],
  [Opcode.FSYNCDIR, 16],
  [Opcode.GETLK, 48],
  [Opcode.SETLK, 48],
  [Opcode.SETLKW, 48],
  [Opcode.ACCESS, 8],
  [Opcode.CREATE, 18],
  [Opcode.INTERRUPT, 8],
  [Opcode.DESTROY, 0],
  [Opcode.IOCTL, 32],
  [Opcode.NOTIFY_REPLY, 0],
  [Opcode.BATCH_FORGET, 8],
  [Opcode.FALLOCATE, 32],
  [Opcode.READDIRPLUS, 40],
  [Opcode.RENAME2, 20],
  [Opcode.LSEEK, 24],
  [Opcode.COPY_FILE_RANGE, 56],
  [Opcode.SYNCFS, 8],
]);

/** Fewest bytes that the arguments of an operation have; −1 for an operation that is not served. */
export function bodyBytesLeast(opcode: number): number {
  return BODY_BYTES_LEAST.get(opcode) ?? -1;
}

/** One request, where it stands. */
export class Request {
  #bytes: Uint8Array = new Uint8Array(0);
  #view: DataView = new DataView(new ArrayBuffer(0));
  #end = 0;
  opcode = 0;
  uniqueLow = 0;
  uniqueHigh = 0;
  /** Inexact beyond 2^53: then it is no node. */
  nodeId = 0;
  uid = 0;
  gid = 0;
  pid = 0;

  /**
   * Looks at a request of `length` bytes at the start of `bytes`.
   * @returns false if it is none: it is shorter than its head, or its length is not what was read.
   */
  point(bytes: Uint8Array, view: DataView, length: number): boolean {
    if (length < REQUEST_HEAD_BYTES || length > bytes.length || view.getUint32(0, true) !== length) return false;
    this.#bytes = bytes;
    this.#view = view;
    this.opcode = view.getUint32(4, true);
    this.uniqueLow = view.getUint32(8, true);
    this.uniqueHigh = view.getUint32(12, true);
    this.nodeId = view.getUint32(16, true) + view.getUint32(20, true) * HIGH;
    this.uid = view.getUint32(24, true);
    this.gid = view.getUint32(28, true);
    this.pid = view.getUint32(32, true);
    this.#end = Math.max(length - view.getUint16(36, true) * 8, REQUEST_HEAD_BYTES); // extensions stand at the end
    return true;
  }

  /** Bytes of arguments. */
  get bodyBytes(): number {
    return this.#end - REQUEST_HEAD_BYTES;
  }

  /** 32 bits at a byte of the arguments. */
  u32(at: number): number {
    return this.#view.getUint32(REQUEST_HEAD_BYTES + at, true);
  }

  /** 64 bits as a number: inexact, but as large, beyond 2^53. */
  u64(at: number): number {
    return this.u32(at) + this.u32(at + 4) * HIGH;
  }

  /** Seconds since 1970, which may lie before, as signed 64 bits. */
  seconds(at: number): number {
    return this.u32(at) + this.#view.getInt32(REQUEST_HEAD_BYTES + at + 4, true) * HIGH;
  }

  /** A 64-bit number as a key: nothing is known of it but that it is the same as another. */
  key(at: number): string {
    return `${this.u32(at + 4).toString(16)}.${this.u32(at).toString(16)}`;
  }

  /** The text from a byte of the arguments to the next NUL. @returns null if there is no NUL. */
  text(at: number): string | null {
    const end = this.#textEnd(at);
    return end < 0 ? null : decodeName(this.#bytes, REQUEST_HEAD_BYTES + at, end);
  }

  /** Where the text at a byte of the arguments is over, and the next thing begins; −1 if it has no end. */
  behindText(at: number): number {
    const end = this.#textEnd(at);
    return end < 0 ? -1 : end + 1 - REQUEST_HEAD_BYTES;
  }

  #textEnd(at: number): number {
    const end = this.#bytes.indexOf(0, REQUEST_HEAD_BYTES + at);
    return end >= this.#end ? -1 : end;
  }

  /** `length` bytes at a byte of the arguments, where they stand; null if there are not so many. */
  data(at: number, length: number): Uint8Array | null {
    const from = REQUEST_HEAD_BYTES + at;
    return at < 0 || from + length > this.#end ? null : this.#bytes.subarray(from, from + length);
  }
}
