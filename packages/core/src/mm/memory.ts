/**
 * Memory: the page allocator and what parts take at admission. Registered under `MEMORY`; it is what a plugin allocates from.
 */
import { invariant, KernelError } from '../base/errno.js';
import { formatSize, PAGE_SIZE } from '../base/size.js';
import { TracePoints } from '../base/trace.js';
import type { Clock } from '../task/clock.js';
import type { LockRule } from '../task/lock.js';
import { TaskContext } from '../task/task-context.js';
import { type WaitParty, WaitQueue } from '../task/wait-queue.js';
import { Arena, type Pfn } from './arena.js';
import { type Counters, createCounters } from './counters.js';
import type { FrameSource } from './frame-source.js';
import { FrameClass, FrameTable, MAX_ORDER } from './frame-table.js';
import { FrameArray } from './frame-array.js';
import { Gfp } from './gfp.js';
import { PageAllocator } from './page-allocator.js';
import { type PlanSizes, planSizes } from './plan-sizes.js';
import { composedPolicy } from './policy/composed.js';
import type { ReservePolicyFactory } from './policy/reserve-policy.js';
import { ReserveTree } from './reserve.js';
import type { StandingMemory } from './standing.js';
import { type Violation, Violations } from './violation.js';
import { computeWatermarks, type WatermarkOptions } from './watermarks.js';
import { XArrayNodes } from './xarray-nodes.js';

/** Most frames: 64 GiB, whose frame table takes half a GiB. */
export const FRAMES_MAX = 2 ** 24;
/** Frames beyond `high` without which a kernel cannot move a page. */
const HEADROOM_FRAMES = 32;
/** Times a contiguous block is reclaimed for before it is refused. */
const BLOCK_ATTEMPTS = 16;
/** Reclaims in a row that free nothing, with nothing in flight, before room is given up. */
const ROOM_ATTEMPTS = 3;

/** Room for JS objects, paid for in frames. */
export interface StandingCharge {
  readonly owner: string;
  readonly nrFrames: number;
  free(): void;
}

export class Memory {
  readonly arena: Arena;
  readonly frames: FrameTable;
  readonly allocator: PageAllocator;
  readonly counters: Counters = createCounters();
  readonly #violations: Violations;
  readonly reserve: ReserveTree;
  readonly sizes: PlanSizes;
  /** Nodes of every page cache's index. */
  readonly xarrayNodes: XArrayNodes;
  /** File pages by state, and where to wait for any of them to be written; kept by the page caches. */
  readonly fileCounts = {
    nrDirty: 0,
    nrWriteback: 0,
    /** Pages that are nowhere else and cannot be written out. */
    nrKept: 0,
    written: new WaitQueue({ kind: 'writeback', name: 'any file page', heldBy: () => this.#inFlight() }),
  };
  readonly #standing = new Map<object, { owner: string; nrFrames: number }>();
  readonly #kernelTask = TaskContext.root('memory');

  /** @throws KernelError ENOMEM, saying the least, if `nrFrames` is too few to work with. */
  constructor(nrFrames: number, trace: TracePoints = new TracePoints(), watermarks: WatermarkOptions = {}) {
    const least = leastBootFrames(watermarks);
    if (nrFrames < least) {
      throw new KernelError(
        'ENOMEM',
        `a kernel cannot work in ${formatSize(nrFrames * PAGE_SIZE)}: the minimum is ${formatSize(least * PAGE_SIZE)}`,
        {
          details: { minimumBytes: least * PAGE_SIZE, memoryBytes: nrFrames * PAGE_SIZE },
        },
      );
    }
    checkArenaSize(nrFrames);
    this.arena = createArena(nrFrames);
    this.frames = new FrameTable(nrFrames);
    this.sizes = planSizes(nrFrames);
    const { arena, frames, counters } = this;
    this.#violations = new Violations(counters, trace);
    const reserve = new ReserveTree(counters, this.#violations);
    this.reserve = reserve;
    this.allocator = new PageAllocator({ arena, frames, reserve, counters, trace, watermarks });
    this.bindPolicy(composedPolicy);
    this.xarrayNodes = new XArrayNodes(arena, this.frameSource(Gfp.SLAB));
  }

  /** Chooses who may take what (M23). To be called before anything is admitted. @throws KernelError EBUSY afterwards. */
  bindPolicy(factory: ReservePolicyFactory, clock: Clock | null = null): void {
    const { allocator, reserve } = this;
    if (reserve.accounts.size > 0) throw new KernelError('EBUSY', 'the reserve policy cannot change once nodes are admitted');
    reserve.policy = factory({
      reserve,
      clock,
      get nrFree() {
        return allocator.nrFree;
      },
      get min() {
        return allocator.min;
      },
      get isReclaimHopeless() {
        return allocator.reclaimer?.isHopeless ?? false;
      },
      inFlight: () => this.#inFlight(),
    });
    allocator.updateWatermarks();
  }

  /**
   * Told of every violation (M5, M7, M19), where it happens and before anything is taken. By default it is a trace point; the testkit's
   * throws. Whatever it does, violations are counted in vmstat.
   */
  get onViolation(): (violation: Violation) => void {
    return this.#violations.handler;
  }

  set onViolation(handler: (violation: Violation) => void) {
    this.#violations.handler = handler;
  }

  /** What every lock that writeout can wait for is made with (M11): `new Lock(node, name, memory.lockRule)`. */
  get lockRule(): LockRule {
    return this.allocator.lockRule;
  }

  /** What is on its way out: whoever waits for memory waits for that. */
  #inFlight(): Iterable<WaitParty> {
    return this.allocator.reclaimer?.inFlight() ?? [];
  }

  /** Single frames of a class, at once or not at all, for small allocators. */
  frameSource(gfp: number): FrameSource {
    return {
      allocFrame: (task) => this.allocator.allocPage(task ?? this.#kernelTask, gfp),
      freeFrame: (pfn) => this.allocator.freePage(pfn),
      share: (pfn) => this.allocator.share(pfn),
      exchange: (pfn) => this.allocator.exchange(pfn),
    };
  }

  get nrFrames(): number {
    return this.arena.nrFrames;
  }

  /** Most frames that were handed out at once. */
  get peakFramesUsed(): number {
    return this.allocator.peakUsed;
  }

  /** Who holds standing memory, largest first. */
  standingByOwner(): { owner: string; nrFrames: number }[] {
    return [...this.#standing.values()].sort((a, b) => b.nrFrames - a.nrFrames);
  }

  /**
   * Takes contiguous, zeroed, pinned frames; waits for reclaim if need be.
   * @throws KernelError ENOMEM naming the owner and the shortfall; EINVAL for more than 4 MiB; EINTR if the task's signal aborts.
   */
  async allocStanding(task: TaskContext, owner: string, nrFrames: number): Promise<StandingMemory> {
    const order = Math.ceil(Math.log2(Math.max(nrFrames, 1)));
    if (order > MAX_ORDER)
      throw new KernelError('EINVAL', `${owner} wants ${nrFrames} contiguous frames: the largest block is ${1 << MAX_ORDER}`);
    for (let fruitless = 0; ; fruitless++) {
      await this.makeRoom(task, 1 << order);
      const pfn = this.allocator.allocBlock(task, order, Gfp.STANDING | Gfp.ZERO);
      if (pfn >= 0) return this.#standingMemory(owner, pfn, order);
      if (task.checkSignal() !== 0) throw new KernelError('EINTR', `${owner} gave up waiting for memory`);
      if (fruitless === BLOCK_ATTEMPTS) throw this.shortOf(owner, 1 << order);
      await this.#reclaimSome(task, 1 << order); // there is enough, but not in one piece
    }
  }

  /**
   * Makes room for `nrFrames` that stay, and checks that the floors leave room for them for good. They are not taken yet.
   * @throws KernelError ENOMEM naming the owner, the shortfall and the smallest budget that has room.
   */
  async requireRoom(task: TaskContext, owner: string, nrFrames: number): Promise<void> {
    const { allocator } = this;
    const available = (): number => {
      const staying = allocator.classCount(FrameClass.STANDING) + allocator.classCount(FrameClass.SLAB);
      return Math.max(this.nrFrames - staying - allocator.high, 0);
    };
    if (nrFrames > available()) allocator.reclaimer?.shrinkObjects?.(nrFrames - available()); // not all of them stay
    if (nrFrames > available()) throw this.#shortBy(owner, nrFrames, available());
    await this.makeRoom(task, nrFrames);
  }

  /**
   * Reclaims until `nrFrames` are free above the ordinary floor, waiting for writeout in flight. Ends early if nothing more can be freed
   * or the task's signal aborts; whoever takes the frames then says what is short.
   */
  async makeRoom(task: TaskContext, nrFrames: number): Promise<void> {
    const { allocator } = this;
    if (allocator.nrFree - nrFrames < allocator.floorOf(task)) allocator.lockRule.checkWait(task, 'free memory');
    for (let fruitless = 0; fruitless < ROOM_ATTEMPTS && allocator.nrFree - nrFrames < allocator.floorOf(task); ) {
      if (task.checkSignal() !== 0) return;
      if (await this.#reclaimSome(task, nrFrames)) fruitless = 0;
      else fruitless++;
    }
  }

  /** @returns false if nothing was freed and nothing was in flight. */
  async #reclaimSome(task: TaskContext, nrFrames: number): Promise<boolean> {
    const { reclaimer } = this.allocator;
    if (reclaimer === null) return false;
    if ((await reclaimer.directReclaim(task, nrFrames)) > 0) return true;
    if (!reclaimer.isWorkInFlight) return false;
    await reclaimer.progress.wait(task);
    return true;
  }

  #standingMemory(owner: string, pfn: Pfn, order: number): StandingMemory {
    const nrFrames = 1 << order;
    const address = pfn * PAGE_SIZE;
    const memory: StandingMemory = {
      owner,
      pfn,
      nrFrames,
      address,
      bytes: this.arena.view(address, nrFrames * PAGE_SIZE),
      free: () => {
        invariant(this.#standing.delete(memory), `standing memory of ${owner} was freed twice`);
        this.allocator.freeBlock(pfn, order);
      },
    };
    this.#standing.set(memory, { owner, nrFrames });
    return memory;
  }

  /**
   * Pays for JS objects that stand for kernel objects, in frames that nobody else can use then.
   * @throws KernelError ENOMEM naming the owner and the shortfall.
   */
  chargeStanding(owner: string, nrFrames: number): StandingCharge {
    const frames = this.allocFrameArray(owner, nrFrames * (PAGE_SIZE / 4), Gfp.STANDING);
    return { owner, nrFrames: frames.nrFrames, free: () => frames.free() };
  }

  /**
   * An array of `length` 32-bit words in frames, zeroed; frames need not be contiguous.
   * @throws KernelError ENOMEM naming the owner and the shortfall; then nothing was taken.
   */
  allocFrameArray(owner: string, length: number, gfp: number): FrameArray {
    const nrFrames = Math.ceil((length * 4) / PAGE_SIZE);
    const pfns = new Uint32Array(nrFrames);
    for (let i = 0; i < nrFrames; i++) {
      let pfn = this.allocator.allocPage(this.#kernelTask, gfp | Gfp.ZERO);
      if (pfn < 0 && (this.allocator.reclaimer?.cleanPass(nrFrames - i) ?? 0) > 0)
        pfn = this.allocator.allocPage(this.#kernelTask, gfp | Gfp.ZERO);
      if (pfn < 0) {
        for (let k = 0; k < i; k++) this.allocator.freePage(pfns[k]);
        throw this.shortOf(owner, nrFrames);
      }
      pfns[i] = pfn;
    }
    const array = new FrameArray(this.arena, pfns, length, () => {
      this.#standing.delete(array);
      for (const pfn of pfns) this.allocator.freePage(pfn);
    });
    this.#standing.set(array, { owner, nrFrames });
    return array;
  }

  /** The error for an owner that wants `wanted` frames and cannot have them. */
  shortOf(owner: string, wanted: number): KernelError {
    const { nrFree, watermarks } = this.allocator;
    return this.#shortBy(owner, wanted, Math.max(nrFree - watermarks.min, 0));
  }

  #shortBy(owner: string, wanted: number, available: number): KernelError {
    const shortfall = Math.max(wanted - available, 1);
    const least = this.leastBytesWith(shortfall);
    return new KernelError(
      'ENOMEM',
      `${owner} needs ${wanted} frames and ${available} are free: ${shortfall} short; ` +
        `the smallest memory budget that has room is ${formatSize(least)}, this kernel has ${formatSize(this.nrFrames * PAGE_SIZE)}`,
      { details: { owner, wantedFrames: wanted, availableFrames: available, shortfallFrames: shortfall, smallestMemoryBytes: least } },
    );
  }

  /** Bytes of the smallest arena in which `shortfall` more frames would be there: marks and sizes grow with it. */
  leastBytesWith(shortfall: number): number {
    const overhead = (n: number): number => computeWatermarks(n).high + planSizes(n).slotFrames * 4;
    let frames = this.nrFrames + shortfall;
    while (frames - overhead(frames) < this.nrFrames - overhead(this.nrFrames) + shortfall) frames += 16;
    return Math.ceil(frames / 256) * 256 * PAGE_SIZE;
  }
}

/** @throws KernelError EINVAL for more frames than an arena has at most. */
export function checkArenaSize(nrFrames: number): void {
  if (nrFrames <= FRAMES_MAX) return;
  const most = formatSize(FRAMES_MAX * PAGE_SIZE);
  throw new KernelError('EINVAL', `an arena of ${formatSize(nrFrames * PAGE_SIZE)} is too large: at most ${most}`);
}

/** @throws KernelError ENOMEM if the host has not that much address space. */
function createArena(nrFrames: number): Arena {
  try {
    return new Arena(nrFrames);
  } catch (cause) {
    throw new KernelError('ENOMEM', `the host has no room for an arena of ${formatSize(nrFrames * PAGE_SIZE)}`, { cause });
  }
}

/** Fewest frames a kernel works with: `high`, and some to move. */
export function leastBootFrames(watermarks: WatermarkOptions = {}): number {
  if (watermarks.minFrames !== undefined) return computeWatermarks(16, watermarks).high + 4;
  let frames = HEADROOM_FRAMES;
  while (frames < computeWatermarks(frames).high + HEADROOM_FRAMES) frames++;
  return frames;
}
