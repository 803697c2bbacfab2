/**
 * File handles of the server. They name a file for good: nothing is kept for them, and they work with nothing cached and after a restart.
 *
 *     0   magic 'TMN3'
 *     4   export: a number made of its path
 *     8   filesystem: a number made of what is mounted there, or the one that was given
 *     12  generation, 8 bytes
 *     20  inode number, 8 bytes
 *     28  mac of the 28 bytes before, 8 bytes (siphash.ts)
 *
 * A handle without the right mac was not made by this server, or with another key: BADHANDLE. So a client can name only files that it was
 * led to, and an export of part of a filesystem gives no way to the rest.
 */
import { siphash } from './siphash.js';

const MAGIC = 0x544d4e33;
const MAC_AT = 28;
/** Bytes of a handle. */
export const HANDLE_BYTES = 36;

/** What a handle says. */
export interface HandleFields {
  readonly exportId: number;
  readonly fsid: number;
  readonly generation: number;
  readonly ino: number;
}

/** Makes handles and takes them apart, with one key. */
export class HandleCodec {
  readonly #key: Uint32Array;
  /** One handle, made anew each time: whoever wants to keep it copies it. */
  readonly #bytes = new Uint8Array(HANDLE_BYTES);
  readonly #view = new DataView(this.#bytes.buffer);
  readonly #mac = new Uint32Array(2);

  /** @param key 16 bytes. */
  constructor(key: Uint8Array) {
    const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
    this.#key = Uint32Array.from([0, 4, 8, 12], (at) => view.getUint32(at, true));
  }

  /** The handle of a file; good until the next call. */
  encode(exportId: number, fsid: number, generation: number, ino: number): Uint8Array {
    const view = this.#view;
    view.setUint32(0, MAGIC);
    view.setUint32(4, exportId);
    view.setUint32(8, fsid);
    putU64(view, 12, generation);
    putU64(view, 20, ino);
    siphash(this.#key, view, MAC_AT, this.#mac);
    view.setUint32(28, this.#mac[0]);
    view.setUint32(32, this.#mac[1]);
    return this.#bytes;
  }

  /** What a handle says, or null if it is none of ours. */
  decode(handle: Uint8Array): HandleFields | null {
    if (handle.length !== HANDLE_BYTES) return null;
    const view = new DataView(handle.buffer, handle.byteOffset, HANDLE_BYTES);
    if (view.getUint32(0) !== MAGIC) return null;
    siphash(this.#key, view, MAC_AT, this.#mac);
    if (view.getUint32(28) !== this.#mac[0] || view.getUint32(32) !== this.#mac[1]) return null;
    return { exportId: view.getUint32(4), fsid: view.getUint32(8), generation: getU64(view, 12), ino: getU64(view, 20) };
  }
}

function putU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 2 ** 32));
  view.setUint32(at + 4, value % 2 ** 32);
}

function getU64(view: DataView, at: number): number {
  return view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4);
}

/** A number of 32 bits made of a text (FNV-1a): the same at every start. */
export function numberOfText(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}
