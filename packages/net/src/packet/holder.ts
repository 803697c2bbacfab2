/**
 * Holders: everything that can keep a received buffer past its handler (M13), each with a bound that the receive reserve pays for.
 *
 *     RX = Σ over the holders (bound in frames + frames of its objects) + 1 for the packet in hand
 *
 * A buffer counts as the frame it is, however short its packet. A holder without a bound holds no tagged buffer. Raising a bound is
 * funded first: if that fails, ENOMEM, and the old bound stands; a lower one gives its frames back when the holder is under it.
 */
import { framesForObjects, invariant, KernelError, PAGE_SIZE } from '@tidemark/core';
import type { PacketBuffer } from './packet-buffer.js';
import type { ReceiveRules } from './rules.js';

/** What a holder declares. */
export interface HolderSpec {
  /** For people: `reassembly`. */
  readonly name: string;
  /** Most memory its buffers take; 0 if it holds none. */
  readonly boundBytes: number;
  /** Most objects it charges, and how many go into a frame. */
  readonly objects?: number;
  readonly objectsPerFrame?: number;
}

export class Holder {
  readonly name: string;
  readonly objects: number;
  readonly #objectsPerFrame: number;
  #boundBytes: number;
  #usedBytes = 0;
  #highWaterBytes = 0;

  /** For `Holders.register`. */
  constructor(spec: HolderSpec) {
    this.name = spec.name;
    this.objects = spec.objects ?? 0;
    this.#objectsPerFrame = spec.objectsPerFrame ?? 1;
    this.#boundBytes = spec.boundBytes;
  }

  get boundBytes(): number {
    return this.#boundBytes;
  }

  /** Bytes of the frames it holds. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  get highWaterBytes(): number {
    return this.#highWaterBytes;
  }

  /** True if another buffer goes in. */
  get hasRoom(): boolean {
    return this.#usedBytes + PAGE_SIZE <= this.#boundBytes;
  }

  /** Takes a buffer, from another holder if one has it. @returns false, with nothing changed, if it is at its bound. */
  hold(buffer: PacketBuffer): boolean {
    if (buffer.holder === this) return true;
    if (!this.hasRoom) return false;
    buffer.holder?.letGo(buffer);
    buffer.holder = this;
    this.#usedBytes += PAGE_SIZE;
    if (this.#usedBytes > this.#highWaterBytes) this.#highWaterBytes = this.#usedBytes;
    return true;
  }

  /** Has the buffer no longer. Whoever calls frees it or holds it elsewhere. */
  letGo(buffer: PacketBuffer): void {
    invariant(buffer.holder === this, `${this.name} was to let go of a buffer it does not hold`);
    buffer.holder = null;
    this.#usedBytes -= PAGE_SIZE;
  }

  /** Frames that the receive reserve sets aside for it, by the rules. */
  plannedFrames(rules: ReceiveRules, boundBytes = this.#boundBytes): number {
    return Math.ceil(rules.plannedBytes(this.name, boundBytes) / PAGE_SIZE) + framesForObjects(this.objects, this.#objectsPerFrame);
  }

  /** For `Holders`. */
  setBound(boundBytes: number): void {
    this.#boundBytes = boundBytes;
  }
}

/** The holders of one transport. */
export class Holders {
  readonly #holders: Holder[] = [];

  constructor(readonly rules: ReceiveRules) {}

  /** @throws KernelError EINVAL for a bound that is none, EEXIST for a name that is taken. */
  register(spec: HolderSpec): Holder {
    checkBound(spec.name, spec.boundBytes);
    if (this.#holders.some(({ name }) => name === spec.name)) throw new KernelError('EEXIST', `there is a holder ${spec.name} already`);
    const holder = new Holder(spec);
    this.#holders.push(holder);
    return holder;
  }

  get all(): readonly Holder[] {
    return this.#holders;
  }

  /** @throws KernelError ENOENT naming those there are. */
  find(name: string): Holder {
    const found = this.#holders.find((holder) => holder.name === name);
    if (found === undefined) {
      throw new KernelError('ENOENT', `no holder is named ${name}: there are ${this.#holders.map((holder) => holder.name).join(', ')}`);
    }
    return found;
  }
}

/** @throws KernelError EINVAL for what is no bound. */
export function checkBound(name: string, boundBytes: number): void {
  if (!Number.isSafeInteger(boundBytes) || boundBytes < 0 || boundBytes > 2 ** 40) {
    throw new KernelError('EINVAL', `${name}: ${boundBytes} bytes are no bound`);
  }
}
