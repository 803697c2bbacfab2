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
 */
import { invariant, KernelError } from '../base/errno.js';
import { PAGE_SIZE } from '../base/size.js';
import type { TaskContext } from '../task/task-context.js';
import type { Pfn } from './arena.js';
import type { FrameSource } from './frame-source.js';
import type { Shrinker } from './reclaimer.js';

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

/** A cache of objects of one type. */
export class SlabCache<T extends object> implements Shrinker {
  readonly name: string;
  readonly objectsPerFrame: number;
  readonly #source: FrameSource;
  readonly #options: SlabOptions<T>;
  readonly #frames: Pfn[] = [];
  readonly #kept: T[] = [];
  #nrObjects = 0;

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

  /** Frames charged. */
  get nrFrames(): number {
    return this.#frames.length;
  }

  /** Objects handed out. */
  get nrObjects(): number {
    return this.#nrObjects;
  }

  /** An object, or null if it would need a frame and there is none. */
  alloc(task?: TaskContext): T | null {
    if (this.#nrRoom === 0) {
      const pfn = this.#source.allocFrame(task);
      if (pfn < 0) return null;
      this.#frames.push(pfn);
    }
    this.#nrObjects++;
    return this.#kept.pop() ?? this.#options.create();
  }

  /** Gives an object back; once. */
  free(object: T): void {
    invariant(this.#nrObjects > 0, `slab cache ${this.name}: more objects freed than allocated`);
    this.#options.reset?.(object);
    this.#nrObjects--;
    this.#kept.push(object);
    if (this.#nrRoom > this.objectsPerFrame + 1) this.scan(1);
  }

  /** Frames that hold no object. */
  count(): number {
    return Math.floor(this.#nrRoom / this.objectsPerFrame);
  }

  /** Gives back up to `nrFrames` that hold no object. @returns how many. */
  scan(nrFrames: number): number {
    const nrFreed = Math.min(nrFrames, this.count());
    for (let i = 0; i < nrFreed; i++) this.#source.freeFrame(this.#frames.pop() as Pfn);
    if (this.#kept.length > this.#nrRoom) this.#kept.length = this.#nrRoom;
    return nrFreed;
  }

  /** Gives back every frame that holds no object. @returns how many. */
  shrink(): number {
    return this.scan(this.#frames.length);
  }

  /** Gives everything back. Throws if objects are still out: they leaked. */
  dispose(): void {
    invariant(this.#nrObjects === 0, `slab cache ${this.name}: ${this.#nrObjects} objects leaked`);
    this.shrink();
  }

  /** Objects that can be handed out without another frame. */
  get #nrRoom(): number {
    return this.#frames.length * this.objectsPerFrame - this.#nrObjects;
  }
}
