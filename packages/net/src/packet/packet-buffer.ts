/**
 * Packet buffers: one frame of the arena each, in which one packet stands, and which knows whether the reserve was needed to get it (M12).
 *
 *     take    a frame above the atomic floor         source normal
 *             else out of the receive account        source account: the buffer is *tagged*
 *             else none
 *
 * The second line is there under reserve policies that know the tag (M23); the others receive into the atomic band or not at all.
 *
 * A buffer is freed when its packet has been handled, unless a `Holder` holds it. The emergency state begins with the first tagged buffer
 * and ends when none is left and free memory is above `low`; it changes no rule, the tag does.
 */
import { Gfp, invariant, type Memory, PAGE_SIZE, type Pfn, PG, type FrameSource, type TaskContext, type TracePoints } from '@tidemark/core';
import type { PacketCounters } from './counters.js';
import type { Holder } from './holder.js';

/** A packet in memory: `bytes[start … end)` is what the layer that looks at it has before it. */
export class PacketBuffer {
  pfn: Pfn = -1;
  bytes: Uint8Array = NO_BYTES;
  start = 0;
  end = 0;
  /** The tag. */
  isFromReserve = false;
  holder: Holder | null = null;
  /** Next fragment of the same datagram. */
  next: PacketBuffer | null = null;
  /** For the layer that holds it: where its bytes belong in a datagram or a stream. */
  offsetBytes = 0;

  get lengthBytes(): number {
    return this.end - this.start;
  }
}

const NO_BYTES = new Uint8Array(0);
/** Buffer objects kept for reuse; they are small and refer to no frame. */
const KEPT_MAX = 64;

export class BufferPool {
  readonly #memory: Memory;
  readonly #trace: TracePoints;
  readonly #counters: PacketCounters;
  readonly #task: TaskContext;
  /** The task with the right to the receive account, or null without one. */
  #funded: TaskContext | null = null;
  readonly #kept: PacketBuffer[] = [];
  #nrBuffers = 0;
  #nrTagged = 0;
  /** Frames of charged objects that came from the reserve. */
  readonly #taggedObjects = new Set<Pfn>();
  #isEmergency = false;

  constructor(parts: { memory: Memory; trace: TracePoints; counters: PacketCounters; task: TaskContext }) {
    this.#memory = parts.memory;
    this.#trace = parts.trace;
    this.#counters = parts.counters;
    this.#task = parts.task;
  }

  /** Gives it the right to the receive account, or takes it away (null). */
  fund(task: TaskContext | null): void {
    this.#funded = task;
  }

  /** Buffers that are out. */
  get nrBuffers(): number {
    return this.#nrBuffers;
  }

  /** Those of them that are tagged. */
  get nrTagged(): number {
    return this.#nrTagged;
  }

  /** True from the first tagged buffer until none is left and free memory is above `low`. */
  get isEmergency(): boolean {
    this.#maybeLeave('asked');
    return this.#isEmergency;
  }

  /** A buffer, or null if not even the reserve has a frame. @param mayUseReserve false for what an unmarked socket sends. */
  take(mayUseReserve = true): PacketBuffer | null {
    const pfn = this.#takeFrame(Gfp.TRANSIENT, mayUseReserve);
    if (pfn < 0) return null;
    const buffer = this.#kept.pop() ?? new PacketBuffer();
    buffer.pfn = pfn;
    buffer.bytes = this.#memory.arena.view(pfn * PAGE_SIZE, PAGE_SIZE);
    buffer.isFromReserve = this.#isReserve(pfn);
    this.#nrBuffers++;
    if (buffer.isFromReserve) {
      this.#nrTagged++;
      this.#counters.fromReserve++;
      if (!this.#isEmergency) this.#enter();
    } else if (this.#isEmergency) this.#maybeLeave('a buffer was had without the reserve');
    return buffer;
  }

  /** Gives a buffer back, and those that hang on it. */
  free(first: PacketBuffer): void {
    for (let buffer: PacketBuffer | null = first; buffer !== null; ) {
      const next: PacketBuffer | null = buffer.next;
      invariant(buffer.pfn >= 0, 'a packet buffer was freed twice');
      buffer.holder?.letGo(buffer);
      this.#memory.allocator.freePage(buffer.pfn);
      this.#nrBuffers--;
      if (buffer.isFromReserve && --this.#nrTagged === 0) this.#maybeLeave('no tagged buffer is left');
      buffer.pfn = -1;
      buffer.bytes = NO_BYTES;
      buffer.next = null;
      if (this.#kept.length < KEPT_MAX) this.#kept.push(buffer);
      buffer = next;
    }
  }

  /** Frames for small objects of this transport (routes, neighbours), by the same order of sources. */
  readonly objectFrames: FrameSource = {
    allocFrame: () => {
      const pfn = this.#takeFrame(Gfp.SLAB, true);
      if (pfn >= 0 && this.#isReserve(pfn)) this.#taggedObjects.add(pfn);
      return pfn;
    },
    freeFrame: (pfn) => {
      this.#taggedObjects.delete(pfn);
      this.#memory.allocator.freePage(pfn);
    },
  };

  /** Frames of objects that came from the reserve. */
  get nrTaggedObjectFrames(): number {
    return this.#taggedObjects.size;
  }

  #takeFrame(frameClass: number, mayUseReserve: boolean): Pfn {
    const { allocator } = this.#memory;
    const pfn = allocator.allocPage(this.#task, frameClass | Gfp.ATOMIC);
    if (pfn >= 0 || this.#funded === null || !mayUseReserve || !this.#memory.reserve.policy.dropsTagged) return pfn;
    return allocator.allocPage(this.#funded, frameClass | Gfp.ATOMIC);
  }

  #isReserve(pfn: Pfn): boolean {
    return (this.#memory.frames.flags[pfn] & PG.RESERVE) !== 0;
  }

  #enter(): void {
    this.#isEmergency = true;
    this.#counters.emergencies++;
    this.#tell('enter', 'a buffer had to come from the reserve');
  }

  #maybeLeave(reason: string): void {
    const { allocator } = this.#memory;
    if (!this.#isEmergency || this.#nrTagged > 0 || allocator.nrFree <= allocator.low) return;
    this.#isEmergency = false;
    this.#tell('leave', reason);
  }

  #tell(state: 'enter' | 'leave', reason: string): void {
    if (this.#trace.enabled) this.#trace.emit('packetEmergency', { state, reason, nrFree: this.#memory.allocator.nrFree });
  }
}
