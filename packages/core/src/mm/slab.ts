/**
 * SlabCache: JS objects that stand for kernel objects, paid for in whole frames.
 *
 * The objects themselves are on the JS heap; what they take there is estimated as `objectBytes`, and a frame is taken out of the
 * arena for every `floor(4096 / objectBytes)` of them. Such a frame holds nothing: it is memory that nobody else can use. Objects
 * that were freed are kept for reuse while their frame is charged.
 *
 *     nrFrames = ceil((nrObjects + kept) / objectsPerFrame)
 *
 * More room than one frame's objects and one more goes back at once; `shrink` gives back the rest.
 *
 * Frames that a reserve account paid for are a room of their own (M20): objects of it go to tickets of the same account only, so that no
 * passer-by gets what the account's next unit needs. The room is given up when its last object is freed, or as soon as ordinary memory can
 * take the account's place. Objects allocated under a ticket count against the ticket's need, whatever paid for them (M5).
 */
import { invariant, KernelError } from '../base/errno.js';
import { PAGE_SIZE } from '../base/size.js';
import type { TaskContext } from '../task/task-context.js';
import type { Pfn } from './arena.js';
import type { FrameSource } from './frame-source.js';
import type { Shrinker } from './reclaimer.js';
import type { ReserveAccount } from './reserve.js';
import { ticketOf, type WriteoutTicket } from './ticket.js';

/** What a cache holds. */
export interface SlabOptions<T> {
  /** For people: `inode`, `request`. */
  readonly name: string;
  /** What one object takes on the JS heap, with all that belongs to it alone: 1 to 4096. */
  readonly objectBytes: number;
  /** Makes an object. */
  create(): T;
  /** Called when an object is freed: drops what it refers to, so that nothing is kept alive by a free object. */
  reset?(object: T): void;
}

/** Frames of one payer, and the objects that fill them. */
class Room {
  readonly frames: Pfn[] = [];
  nrObjects = 0;

  constructor(readonly account: ReserveAccount | null) {}
}

/** A cache of objects of one type. */
export class SlabCache<T extends object> implements Shrinker {
  readonly name: string;
  readonly objectsPerFrame: number;
  readonly isAllocationFree = true;
  readonly #source: FrameSource;
  readonly #options: SlabOptions<T>;
  readonly #ordinary = new Room(null);
  /** Rooms that accounts pay for; mostly none. */
  readonly #reserved = new Map<ReserveAccount, Room>();
  /** Of objects in one of those: which. */
  readonly #roomOf = new Map<T, Room>();
  /** Of objects allocated under a ticket: which. */
  readonly #ticketOf = new Map<T, WriteoutTicket>();
  readonly #kept: T[] = [];
  /** Who pays for the object that `alloc` gave last: an account, or null for ordinary memory. */
  lastSource: ReserveAccount | null = null;

  /** @throws KernelError EINVAL for an object that is no part of a frame. */
  constructor(source: FrameSource, options: SlabOptions<T>) {
    if (!Number.isInteger(options.objectBytes) || options.objectBytes < 1 || options.objectBytes > PAGE_SIZE) {
      throw new KernelError('EINVAL', `slab cache ${options.name}: objects of ${options.objectBytes} bytes; want 1 to ${PAGE_SIZE}`);
    }
    this.name = options.name;
    this.objectsPerFrame = Math.floor(PAGE_SIZE / options.objectBytes);
    this.#source = source;
    this.#options = options;
  }

  /** Frames charged, whoever pays. */
  get nrFrames(): number {
    let nrFrames = this.#ordinary.frames.length;
    for (const { frames } of this.#reserved.values()) nrFrames += frames.length;
    return nrFrames;
  }

  /** Objects handed out. */
  get nrObjects(): number {
    return this.#ordinary.nrObjects + this.#roomOf.size;
  }

  /**
   * An object, or null if it would need a frame and there is none. `lastSource` says who pays for it.
   * @param task for whom: its ticket, if it carries one, is what may be spent, and what the object counts against.
   */
  alloc(task?: TaskContext): T | null {
    const ticket = task === undefined ? null : ticketOf(task);
    ticket?.checkNeed(0, this.#options.objectBytes);
    const room = this.#roomFor(task, ticket);
    if (room === null) return null;
    const object = this.#kept.pop() ?? this.#options.create();
    room.nrObjects++;
    this.lastSource = room.account;
    if (room.account !== null) this.#roomOf.set(object, room);
    if (ticket !== null) {
      this.#ticketOf.set(object, ticket);
      ticket.addObjects(this.#options.objectBytes);
    }
    return object;
  }

  /** Ordinary room; else that of the ticket's account; else that of a fresh frame, whoever pays for it. */
  #roomFor(task: TaskContext | undefined, ticket: WriteoutTicket | null): Room | null {
    if (this.#roomIn(this.#ordinary) > 0) return this.#ordinary;
    const own = ticket === null ? undefined : this.#reserved.get(ticket.account);
    if (own !== undefined && this.#roomIn(own) > 0) return own;
    const pfn = this.#source.allocFrame(task);
    if (pfn < 0) return null;
    const account = this.#source.share?.(pfn) ?? null;
    let room = account === null ? this.#ordinary : this.#reserved.get(account);
    if (room === undefined) {
      room = new Room(account);
      this.#reserved.set(account as ReserveAccount, room);
    }
    room.frames.push(pfn);
    return room;
  }

  /** Gives an object back; once. */
  free(object: T): void {
    const room = (this.#roomOf.size > 0 ? this.#roomOf.get(object) : undefined) ?? this.#ordinary;
    invariant(room.nrObjects > 0, `slab cache ${this.name}: more objects freed than allocated`);
    this.#options.reset?.(object);
    room.nrObjects--;
    this.#kept.push(object);
    if (room !== this.#ordinary) {
      this.#roomOf.delete(object);
      this.#trim(room);
    } else if (this.#roomIn(room) > this.objectsPerFrame + 1) this.scan(1);
    if (this.#ticketOf.size === 0) return;
    const ticket = this.#ticketOf.get(object);
    if (ticket === undefined) return;
    this.#ticketOf.delete(object);
    ticket.addObjects(-this.#options.objectBytes);
  }

  /** Gives an account its frames back: those without objects are freed, and all of them if ordinary memory can take its place. */
  #trim(room: Room): void {
    const { frames } = room;
    while (this.#roomIn(room) >= this.objectsPerFrame) this.#source.freeFrame(frames.pop() as Pfn);
    while (frames.length > 0 && this.#source.exchange?.(frames[frames.length - 1])) this.#moveOne(room);
    if (frames.length === 0) this.#reserved.delete(room.account as ReserveAccount);
    this.#dropKept();
  }

  /** A frame that was exchanged, with the objects that fill it, is ordinary from here on. */
  #moveOne(room: Room): void {
    this.#ordinary.frames.push(room.frames.pop() as Pfn);
    let nrToMove = room.nrObjects - room.frames.length * this.objectsPerFrame;
    for (const [object, its] of this.#roomOf) {
      if (nrToMove <= 0) break;
      if (its !== room) continue;
      this.#roomOf.delete(object);
      room.nrObjects--;
      this.#ordinary.nrObjects++;
      nrToMove--;
    }
  }

  /** Frames that hold no object, of those that ordinary memory pays for. */
  count(): number {
    return Math.floor(this.#roomIn(this.#ordinary) / this.objectsPerFrame);
  }

  /** Gives back up to `nrFrames` that hold no object. Allocates nothing. @returns how many. */
  scan(nrFrames: number): number {
    const nrFreed = Math.min(nrFrames, this.count());
    for (let i = 0; i < nrFreed; i++) this.#source.freeFrame(this.#ordinary.frames.pop() as Pfn);
    this.#dropKept();
    return nrFreed;
  }

  #dropKept(): void {
    let nrRoom = this.#roomIn(this.#ordinary);
    for (const room of this.#reserved.values()) nrRoom += this.#roomIn(room);
    if (this.#kept.length > nrRoom) this.#kept.length = nrRoom;
  }

  /** Gives back every frame that holds no object. @returns how many. */
  shrink(): number {
    return this.scan(this.#ordinary.frames.length);
  }

  /** Gives everything back. Throws if objects are still out: they leaked. */
  dispose(): void {
    invariant(this.nrObjects === 0, `slab cache ${this.name}: ${this.nrObjects} objects leaked`);
    this.shrink();
  }

  /** Objects that can be handed out from a room without another frame. */
  #roomIn(room: Room): number {
    return room.frames.length * this.objectsPerFrame - room.nrObjects;
  }
}
