/**
 * The swap subsystem: areas by priority, slots for pages, and who owns which page. Registered under `SWAP_SUBSYSTEM`.
 *
 * It reaches every area through a `PinnedFile` only, which it gets from the `SWAP_HOOKS` of whatever package the backing belongs to; it
 * knows no filesystem and no device.
 */
import {
  type BlockDevice,
  entryArea,
  entrySlot,
  Errno,
  errnoName,
  errorFrom,
  type Kernel,
  KernelError,
  MAX_AREAS,
  MAX_SLOTS,
  type MayEnter,
  type NegErrno,
  type NodeFootprint,
  PG,
  type OpenFile,
  type Pfn,
  Semaphore,
  standingFrames,
  type StandingCharge,
  type SwapAreaInfo,
  type SwapEntry,
  type SwapOnOptions,
  type SwapSubsystem,
  WRITE_AGAIN,
  type WaitParty,
  type WriteoutNode,
} from '@tidemark/core';
import type { AnonymousSpace } from './anonymous-space.js';

import { swapAreaFootprint, writeRunFrames } from './footprint.js';
import { formatSwap, readSwapHeader } from './format.js';
import { TURN_PAGES } from './params.js';
import { SwapArea, type SwapAreaParts } from './swap-area.js';
import { type SwapBacking, swapBackingOf } from './swap-backing.js';
import { SwapReader } from './swap-reader.js';
import { SwapWriter } from './swap-writer.js';

/** Largest priority, and smallest below zero. */
const PRIORITY_MAX = 32_767;

/** An area with what reads and writes it. */
interface ActiveArea {
  readonly area: SwapArea;
  readonly writer: SwapWriter;
  readonly reader: SwapReader;
  readonly charge: StandingCharge;
  readonly node: WriteoutNode;
}

/** What an area is made of, before it is admitted. */
type AreaToBe = Pick<SwapAreaParts, 'number' | 'name' | 'backing' | 'pinned' | 'header'>;

/**
 * The swap subsystem of one kernel: its areas, and which of them takes a page. Exported for whoever exchanges a part of it, by a class of his own
 * under `SWAP_SUBSYSTEM`; nobody else needs it.
 *
 * @internal
 */
export class SwapManager implements SwapSubsystem {
  readonly #kernel: Kernel;
  /** By area number. */
  readonly #areas: (ActiveArea | null)[] = [];
  /** Highest priority first; the front of its priority is whose turn it is. */
  #turns: ActiveArea[] = [];
  #leftInTurn = TURN_PAGES;
  readonly #spaces = new Set<AnonymousSpace>();
  #isHooked = false;
  readonly #swapOnTurn = new Semaphore(1, { kind: 'lock', name: 'swapon' });

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  get nrFreeSlots(): number {
    let nrFree = 0;
    for (const { area } of this.#turns) if (area.isOpen) nrFree += area.slots.nrFree;
    return nrFree;
  }

  get nrWriteback(): number {
    let nrHeld = 0;
    for (const { writer } of this.#turns) nrHeld += writer.nrHeld;
    return nrHeld;
  }

  get writeRoom(): number {
    let room = 0;
    for (const { writer } of this.#turns) room += writer.room;
    return room;
  }

  writeRoomWithin(mayEnter: MayEnter): number {
    let room = 0;
    for (const { writer, node } of this.#turns) if (mayEnter(node)) room += writer.room;
    return room;
  }

  *inFlight(): Generator<WaitParty> {
    for (const { area, writer, node } of this.#turns) {
      if (writer.nrHeld > 0) yield { kind: 'writeback', name: `swap-out to ${area.name}`, heldBy: () => [node] };
    }
  }

  nodeOf(pfn: Pfn): WriteoutNode {
    return this.#active(this.#kernel.memory.frames.priv[pfn]).node;
  }

  get nrCached(): number {
    let nrCached = 0;
    for (const { area } of this.#turns) nrCached += area.nrCached;
    return nrCached;
  }

  /** Why no page can be swapped out now, for the error of whoever needs memory; null if that is not the reason. */
  get whyFull(): KernelError | null {
    if (this.#turns.length === 0 || this.nrFreeSlots > 0) return null;
    const failed = this.#turns.find(({ area }) => area.hasFailed);
    if (failed === undefined) return new KernelError('ENOSPC', 'swap is full and nothing can be freed');
    const { name, failure } = failed.area;
    const why = failure === WRITE_AGAIN ? 'its server keeps losing what it acknowledged' : errnoName(failure);
    const code = failure === -Errno.ENOSPC ? 'ENOSPC' : 'EIO';
    return new KernelError(code, `swap area ${name} has failed (${why}) and takes no more pages for now, and nothing else can be freed`);
  }

  areaOf(entry: SwapEntry): SwapArea {
    return this.#active(entry).area;
  }

  readerOf(entry: SwapEntry): SwapReader {
    return this.#active(entry).reader;
  }

  #active(entry: SwapEntry): ActiveArea {
    return this.#areas[entryArea(entry)] as ActiveArea;
  }

  addToSwap(pfn: Pfn, mayEnter: MayEnter | null): boolean {
    for (let i = 0; i < this.#turns.length; i++) {
      const { area, node } = this.#turns[i];
      if (!area.isOpen || (mayEnter !== null && !mayEnter(node))) continue;
      const slot = area.slots.alloc();
      if (slot === 0) continue;
      area.enterCache(slot, pfn);
      if (--this.#leftInTurn <= 0) this.#nextTurn(i);
      return true;
    }
    return false;
  }

  /** Moves an area behind the others of its priority. */
  #nextTurn(at: number): void {
    this.#leftInTurn = TURN_PAGES;
    const active = this.#turns[at];
    let last = at;
    while (last + 1 < this.#turns.length && this.#turns[last + 1].area.priority === active.area.priority) last++;
    if (last === at) return;
    this.#turns.splice(at, 1);
    this.#turns.splice(last, 0, active);
  }

  startWriteback(pfns: Uint32Array, count: number, mayEnter: MayEnter | null): number {
    const { priv } = this.#kernel.memory.frames;
    this.#kernel.memory.arena.touch(pfns, count);
    let started = 0;
    while (started < count) {
      const pfn = pfns[started];
      if (!this.areaOf(priv[pfn]).isOpen) {
        this.dropSlot(pfn); // an area that failed, or is being taken off
        if (!this.addToSwap(pfn, mayEnter)) break;
      }
      if (!this.#active(priv[pfn]).writer.add(pfn, entrySlot(priv[pfn]))) break;
      started++;
    }
    for (const { writer } of this.#turns) writer.submit();
    return started;
  }

  /** A page keeps its frame and gives its slot back. */
  dropSlot(pfn: Pfn): void {
    const entry = this.#kernel.memory.frames.priv[pfn];
    const { area } = this.#active(entry);
    area.leaveCache(entrySlot(entry), pfn, 0);
    area.freeSlot(entrySlot(entry));
  }

  /** A slot's owner wants it no more. */
  freeEntry(entry: SwapEntry): void {
    const { area } = this.#active(entry);
    const slot = entrySlot(entry);
    const { frames, allocator } = this.#kernel.memory;
    const pfn = area.frameOf(slot);
    if (pfn >= 0 && (frames.flags[pfn] & PG.LOCKED) !== 0) {
      area.slots.setDying(slot);
      return;
    }
    if (pfn >= 0) {
      this.#kernel.reclaim.policy.remove(pfn);
      area.leaveCache(slot, pfn, 0);
      if (frames.refs[pfn] > 0)
        frames.flags[pfn] |= PG.ORPHAN; // just read in: whoever waited for it frees it
      else allocator.freePage(pfn);
    }
    area.freeSlot(slot);
  }

  /** Frees the frame, and the slot, of a page whose buffer is closed. It is on no list. */
  freeOrphan(pfn: Pfn): void {
    const { frames, allocator } = this.#kernel.memory;
    if (frames.refs[pfn] > 0) return; // the last reference frees it
    if ((frames.flags[pfn] & PG.SWAPCACHE) !== 0) this.dropSlot(pfn);
    allocator.freePage(pfn);
  }

  addSpace(space: AnonymousSpace): void {
    this.#hookShutdown();
    this.#spaces.add(space);
  }

  removeSpace(space: AnonymousSpace): void {
    this.#spaces.delete(space);
  }

  async swapOn(object: BlockDevice | OpenFile, options: SwapOnOptions, name: string): Promise<SwapAreaInfo> {
    const backing = swapBackingOf(this.#kernel, object);
    backing.require('swap on');
    this.#hookShutdown();
    const turn = await this.#swapOnTurn.acquire(this.#kernel.task); // one at a time: the number of an area is taken at the end
    if (turn !== 0) throw errorFrom(turn, `swap on ${name}`);
    try {
      return await this.#swapOnNow(backing, options, name);
    } finally {
      this.#swapOnTurn.release();
    }
  }

  async #swapOnNow(backing: SwapBacking, options: SwapOnOptions, name: string): Promise<SwapAreaInfo> {
    const kernel = this.#kernel;
    const priority = options.priority ?? 0;
    if (!Number.isInteger(priority) || Math.abs(priority) > PRIORITY_MAX) {
      throw new KernelError(
        'EINVAL',
        `swap priority ${String(options.priority)} is not a whole number from -${PRIORITY_MAX} to ${PRIORITY_MAX}`,
      );
    }
    const free = this.#areas.indexOf(null);
    const number = free >= 0 ? free : this.#areas.length;
    if (number >= MAX_AREAS) throw new KernelError('EBUSY', `there are ${MAX_AREAS} swap areas already; ${name} is one too many`);
    const { object, holder } = backing;
    if (holder !== null) throw new KernelError('EBUSY', `${name} is in use by ${holder}, so it cannot be a swap area`);
    const below = await backing.node();
    if (options.format) await formatSwap(kernel, object, { label: options.label, force: true });
    const header = await readSwapHeader(kernel, object);
    const lastPage = Math.min(header.lastPage, MAX_SLOTS - 1);
    const footprint = (pinFrames: number) => swapAreaFootprint(kernel.memory.nrFrames, lastPage + 1, options.checksum ?? false, pinFrames);
    const node: WriteoutNode & { footprint: NodeFootprint } = { name: `swap:${name}`, kind: 'swap-area', footprint: footprint(0) };
    let active: ActiveArea | null = null;
    const prepare = async (): Promise<() => Promise<void>> => {
      await kernel.memory.requireRoom(kernel.task, node.name, standingFrames(node.footprint));
      const { nrUnits } = node.footprint;
      const pinned = await kernel.swapHooksOf(object, name).swapActivate(kernel.task, object, { user: 'swap', nrUnits });
      const made = await this.#build({ number, name, backing, pinned, header: { ...header, lastPage } }, options, node);
      active = made;
      node.footprint = footprint(pinned.standingFrames);
      return () => this.#dispose(made);
    };
    await kernel.reserves.admit(kernel.task, { candidates: [{ node, prepare }], edges: [[node, below]] });
    return this.#start(active as unknown as ActiveArea);
  }

  /** Makes an area's tables, its reader and its writer. If they do not fit, the pin is undone. */
  async #build(what: AreaToBe, options: SwapOnOptions, node: WriteoutNode): Promise<ActiveArea> {
    const kernel = this.#kernel;
    const { memory, reclaim, trace } = kernel;
    const { header, pinned } = what;
    let charge: StandingCharge | null = null;
    let area: SwapArea | null = null;
    try {
      await memory.requireRoom(kernel.task, node.name, standingFrames(node.footprint)); // beside what the pin took
      charge = memory.chargeStanding(`requests of swap area ${what.name}`, writeRunFrames(memory.nrFrames));
      area = new SwapArea({
        ...what,
        memory,
        clock: kernel.clock,
        header: { ...header, badPages: header.badPages.filter((page) => page <= header.lastPage) },
        priority: options.priority ?? 0,
        trusted: options.trusted ?? pinned.trusted,
        checksum: options.checksum ?? false,
      });
      kernel.spaces.add(area);
      const task = kernel.task.asReclaimer().within(node);
      const writer = new SwapWriter(area, { memory, reclaim, trace, task, freeOrphan: (pfn) => this.freeOrphan(pfn) });
      return { area, writer, reader: new SwapReader(area, memory, reclaim), charge, node };
    } catch (error) {
      area?.dispose();
      charge?.free();
      await pinned.release();
      throw error;
    }
  }

  /** From here on the area takes pages. */
  #start(active: ActiveArea): SwapAreaInfo {
    const { area } = active;
    active.writer.start(this.#kernel.reserves.accountOf(active.node).units);
    this.#areas[area.number] = active;
    this.#turns = [...this.#turns, active].sort((a, b) => b.area.priority - a.area.priority);
    const { trace } = this.#kernel;
    if (trace.enabled) trace.emit('swap', { area: area.name, state: 'on', detail: area.slots.nrSlots });
    return infoOf(active);
  }

  async swapOff(name: string): Promise<void> {
    const active = this.#turns.find(({ area }) => area.name === name);
    if (active === undefined) throw new KernelError('EINVAL', `${name} is no swap area of this kernel`);
    const { area } = active;
    if (area.isClosing) throw new KernelError('EBUSY', `${name} is being taken off already`);
    this.#checkRoomFor(active);
    area.isClosing = true;
    const status = await this.#bringBack(active);
    if (status !== 0) {
      area.isClosing = false;
      throw errorFrom(status, `swap off ${name}: not every page could be brought back; the area stays on and nothing is lost`);
    }
    const idle = await this.#idle(active);
    if (!this.#turns.includes(active)) throw new KernelError('ESHUTDOWN', `swap off ${name}: the kernel is shut down`);
    if (idle !== 0) {
      area.isClosing = false;
      throw errorFrom(idle, `swap off ${name}: pages are still on their way; the area stays on and nothing is lost`);
    }
    this.#dropUnmapped(active);
    await this.#remove(active);
  }

  /** @throws KernelError ENOMEM if the pages of an area can fit neither in memory nor in the other areas. */
  #checkRoomFor({ area }: ActiveArea): void {
    const wanted = area.slots.nrInUse - area.nrCached;
    const { memFree, cached } = this.#kernel.meminfo();
    const room = memFree + cached + this.nrFreeSlots - (area.isOpen ? area.slots.nrFree : 0);
    if (wanted > room) {
      throw new KernelError(
        'ENOMEM',
        `swap off ${area.name}: ${wanted} pages must come back and there is room for ${room}; nothing was changed`,
        {
          details: { wantedPages: wanted, roomPages: room },
        },
      );
    }
  }

  async #bringBack(active: ActiveArea): Promise<0 | NegErrno> {
    const { area } = active;
    const { frames } = this.#kernel.memory;
    for (const space of [...this.#spaces]) {
      for (let index = space.nextInArea(0, area.number); index >= 0; index = space.nextInArea(index, area.number)) {
        const pfn = await space.fault(this.#kernel.task, index);
        if (space.isClosed) {
          if (pfn >= 0) space.unref(pfn);
          break;
        }
        if (pfn < 0) return pfn;
        if ((frames.flags[pfn] & PG.WRITEBACK) !== 0) {
          space.unref(pfn);
          const idle = await active.writer.idle(this.#kernel.task);
          if (idle !== 0) return idle;
          continue;
        }
        if ((frames.flags[pfn] & PG.SWAPCACHE) !== 0 && entryArea(frames.priv[pfn]) === area.number) {
          this.dropSlot(pfn);
          frames.flags[pfn] |= PG.DIRTY;
        }
        space.unref(pfn);
      }
    }
    return 0;
  }

  /** Frees pages that were read ahead and belong to nobody: after a swapoff there are none with an owner. */
  #dropUnmapped({ area }: ActiveArea): void {
    for (let slot = 1; slot < area.slots.nrSlots && area.nrCached > 0; slot++)
      if (area.frameOf(slot) >= 0) this.freeEntry(area.entryOf(slot));
  }

  async #remove(active: ActiveArea): Promise<void> {
    if (!this.#turns.includes(active)) return; // somebody else has
    const { area, node } = active;
    this.#turns = this.#turns.filter((other) => other !== active);
    this.#areas[area.number] = null;
    await this.#kernel.reserves.release(node);
    const { trace } = this.#kernel;
    if (trace.enabled) trace.emit('swap', { area: area.name, state: 'off', detail: 0 });
  }

  /** Gives back what `#build` took, and the pin. */
  async #dispose({ area, charge }: ActiveArea): Promise<void> {
    this.#kernel.spaces.remove(area);
    area.dispose();
    charge.free();
    await area.pinned.release();
  }

  areas(): SwapAreaInfo[] {
    return this.#turns.map(infoOf);
  }

  #hookShutdown(): void {
    if (this.#isHooked) return;
    this.#isHooked = true;
    this.#kernel.onShutdown('swap', () => this.#shutdown());
  }

  /** Closes every buffer and area without bringing pages back. What does not end by the deadline ends with EIO. */
  async #shutdown(): Promise<void> {
    await this.#swapOnTurn.acquire(this.#kernel.task); // a swapon under way ends first, or at the deadline
    for (const space of [...this.#spaces]) {
      space.wasCutOff = true;
      space.close();
    }
    for (const active of [...this.#turns]) {
      active.area.isClosing = true;
      if ((await this.#idle(active)) !== 0) {
        await active.area.pinned.cutOff?.();
        const unhurried = this.#kernel.task.withSignal(null);
        await active.writer.idle(unhurried);
        await active.reader.idle(unhurried);
      }
      this.#dropUnmapped(active);
      await this.#remove(active);
    }
  }

  async #idle({ writer, reader }: ActiveArea): Promise<NegErrno> {
    const status = await writer.idle(this.#kernel.task);
    if (status !== 0) return status;
    return reader.idle(this.#kernel.task);
  }
}

function infoOf({ area }: ActiveArea): SwapAreaInfo {
  return {
    name: area.name,
    priority: area.priority,
    label: area.header.label,
    uuid: area.header.uuid,
    nrSlots: area.slots.nrSlots - 1 - area.slots.nrBad,
    nrFree: area.slots.nrFree,
    nrBad: area.slots.nrBad,
    metadataFrames: area.metadataFrames,
  };
}
