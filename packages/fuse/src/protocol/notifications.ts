/**
 * What the kernel is told without being asked: that what it remembers is no longer true. A head as of a reply, with unique 0 and the kind in the
 * place of the error.
 */
import { encodeName } from '@tidemark/core';
import { Notify, REPLY_HEAD_BYTES } from './constants.js';

const HIGH = 2 ** 32;

function begin(kind: number, bodyBytes: number): DataView {
  const view = new DataView(new ArrayBuffer(REPLY_HEAD_BYTES + bodyBytes));
  view.setUint32(0, view.byteLength, true);
  view.setInt32(4, kind, true);
  return view;
}

function put64(view: DataView, at: number, value: number): void {
  view.setUint32(REPLY_HEAD_BYTES + at, value % HIGH, true);
  view.setUint32(REPLY_HEAD_BYTES + at + 4, Math.floor(value / HIGH), true);
}

function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer);
}

/** Attributes and all data of a file. */
export function invalidateNode(nodeId: number): Uint8Array {
  const view = begin(Notify.INVAL_INODE, 24);
  put64(view, 0, nodeId);
  return bytesOf(view); // offset 0, length 0: to the end
}

/** What a name in a directory stands for. */
export function invalidateName(parentId: number, name: string): Uint8Array {
  const encoded = encodeName(name);
  const view = begin(Notify.INVAL_ENTRY, 16 + encoded.length + 1);
  put64(view, 0, parentId);
  view.setUint32(REPLY_HEAD_BYTES + 8, encoded.length, true);
  const bytes = bytesOf(view);
  bytes.set(encoded, REPLY_HEAD_BYTES + 16);
  return bytes;
}

/** What every name stands for. */
export function invalidateAllNames(): Uint8Array {
  return bytesOf(begin(Notify.INC_EPOCH, 0));
}
