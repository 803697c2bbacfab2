/**
 * The space `hand-off`: two nodes of neighbouring levels, one unit each, two tasks that write pages out through them, and two ordinary tasks
 * that wait for the frames. Who is served next, and what becomes of a frame that an account paid for, is all there is to it.
 *
 *     reclaimer 0, 1 → unit of swap (first come, first served) → two frames → unit of the disk → frame for the bio → I/O
 *     end of the unit: everything it holds is freed, then uncharged (M5); its second frame holds a page worth keeping, which is exchanged if
 *     another frame is free above the ordinary floor; the unit is handed to who waits for one
 *     reader 0, 1 → frame, or the end of the queue; what is freed above the floor goes to the oldest at once (M8) → the page becomes dirty
 *
 * Reclaimer 1 and reader 1 may give up while they wait. The order in which ordinary waiters are served is core's `HandOff`, written again as a
 * function of the state: its queues live in promises, which a search cannot put back.
 */
import type { ReservePolicyFactory } from '@tidemark/core';
import { SearchModel, type State, type WaitSink } from '@tidemark/testkit';
import { type MemoryNode, ModelMemory, Source, SOURCE_MAX } from './model-memory.js';
import { Stages } from './stages.js';

/** What a mutant takes away; each is on unless said. */
export interface HandOffRules {
  /** M8: a freed frame is handed to the oldest waiter. Off: it is free, and who looks first has it. */
  readonly handsOn?: boolean;
  /** M8: a frame that an account paid for returns to the emergency band. Off: it goes to the oldest ordinary waiter. */
  readonly returnsToBand?: boolean;
  /** M5: free first, then uncharge. Off: the other way round, and somebody may run in between. */
  readonly freesFirst?: boolean;
  /** M5: a page stays on an account's frame only by exchange. Off: it is uncharged and stays. */
  readonly exchanges?: boolean;
  /** Who gives up leaves the queue. Off: its place stays, and is handed a frame. */
  readonly leavesQueue?: boolean;
  /** The end of a unit begins the unit of who waits for one. Off: nobody is woken. */
  readonly wakes?: boolean;
  /** M5: swap declares the two frames that a unit takes. Off: it declares one, and memory is ample, so that nothing else tells. */
  readonly declaresAll?: boolean;
}

const NR_FRAMES = 10;
const MIN_FRAMES = 2;
const AMPLE_FRAMES = 7;
const ROUNDS = 3;

/** Stages of a reclaimer. */
const READY = 0;
const WAITS_UNIT = 1;
const TAKES_FIRST = 2;
const TAKES_SECOND = 3;
const WANTS_DISK = 4;
const WANTS_BIO = 5;
const WRITING = 6;
const WRITTEN = 7;
/** Only where uncharging comes first. */
const UNCHARGED = 8;
const GONE = 9;

/** Stages of a reader. */
const WANTS = 0;
const QUEUED = 1;
const HOLDS = 2;
const LEFT = 3;

/** The model under a policy, with the rules of `rules`. */
export function handOffModel(policy: ReservePolicyFactory, rules: HandOffRules = {}): SearchModel {
  return new HandOffSpace(policy, rules).model;
}

class HandOffSpace {
  readonly model = new SearchModel('hand-off', { pages: NR_FRAMES, tasks: 4, layers: 2, needFrames: 2 });
  readonly #rules: Required<HandOffRules>;
  readonly #memory: ModelMemory;
  readonly #swap: MemoryNode;
  readonly #disk: MemoryNode;
  readonly #dirty: number;
  readonly #clean: number;
  /** Readers in the order of their waiting: number + 1. */
  readonly #queue: readonly [number, number];
  readonly #passed: number;
  readonly #reclaimers: number[];
  readonly #readers: number[];

  constructor(policy: ReservePolicyFactory, rules: HandOffRules) {
    const { model } = this;
    this.#rules = {
      handsOn: true,
      returnsToBand: true,
      freesFirst: true,
      exchanges: true,
      leavesQueue: true,
      wakes: true,
      declaresAll: true,
      ...rules,
    };
    const { declaresAll } = this.#rules;
    this.#memory = new ModelMemory(model, {
      nrFrames: NR_FRAMES,
      minFrames: MIN_FRAMES,
      policy,
      initiallyFree: declaresAll ? undefined : AMPLE_FRAMES,
      nodes: [
        { name: 'swap', kind: 'swap-area', need: declaresAll ? 2 : 1, nrUnits: 1, isReclaim: true },
        { name: 'disk', kind: 'block-device', need: 1, nrUnits: 1 },
      ],
    });
    [this.#swap, this.#disk] = this.#memory.nodes;
    this.#dirty = model.cell('dirty', NR_FRAMES, NR_FRAMES - model.cells[this.#memory.free].initial);
    this.#clean = model.cell('clean', NR_FRAMES);
    this.#queue = [model.cell('queue0', 2), model.cell('queue1', 2)];
    this.#passed = model.cell('passed', 1);
    const held = { first: SOURCE_MAX, second: SOURCE_MAX, bio: SOURCE_MAX };
    this.#reclaimers = model.records('reclaimer', 2, { stage: GONE, ...held }, { interchangeable: false });
    this.#readers = model.records('reader', 2, { stage: LEFT, rounds: ROUNDS }, { interchangeable: false });
    for (const n of [0, 1]) {
      this.#reclaimer(n);
      this.#reader(n);
    }
    model.step(
      'reclaim drops a clean page',
      (s) => s[this.#clean] > 0,
      (s) => {
        s[this.#clean]--;
        s[this.#memory.free]++;
        this.#serve(s);
      },
    );
    model.invariant('every frame has one owner', (s) => this.#nrFrames(s) === NR_FRAMES);
    model.invariant('no unit holds more than its node declared', (s) =>
      this.#reclaimers.every((r) => this.#heldBySwap(s, r) <= this.#swap.spec.need),
    );
    model.invariant('nobody is served before the oldest waiter', (s) => s[this.#passed] === 0);
    model.doneWhen((s) => this.#readers.every((r) => this.#isDone(s, r)) && this.#reclaimers.every((r) => s[r] === READY || s[r] === GONE));
    model.waitsAre((s, sink) => this.#waits(s, sink));
  }

  #isDone(s: State, reader: number): boolean {
    return s[reader] === LEFT || (s[reader] === WANTS && s[reader + 1] === ROUNDS);
  }

  #reclaimer(n: number): void {
    const at = this.#reclaimers[n];
    const [first, second, bio] = [at + 1, at + 2, at + 3];
    const memory = this.#memory;
    const swap = this.#swap;
    const disk = this.#disk;
    const stages = new Stages(this.model, memory, `reclaimer ${n}`, at);
    const somebodyWaits = (s: State): boolean => this.#reclaimers.some((r) => s[r] === WAITS_UNIT);
    const hasWork = (s: State): boolean => s[this.#dirty] > 0;
    stages.begins('begins a unit of swap', READY, TAKES_FIRST, swap, {
      when: (s) => hasWork(s) && !somebodyWaits(s),
      change: (s) => s[this.#dirty]--,
    });
    stages.step('waits for a unit of swap', READY, WAITS_UNIT, {
      when: (s) => hasWork(s) && (somebodyWaits(s) || !memory.mayBegin(s, swap)),
    });
    if (n === 1) stages.step('gives up', WAITS_UNIT, GONE);
    stages.takes('takes a first frame', TAKES_FIRST, TAKES_SECOND, swap, [first, second], first);
    stages.takes('takes a second frame', TAKES_SECOND, WANTS_DISK, swap, [first, second], second);
    stages.begins('begins a unit of the disk', WANTS_DISK, WANTS_BIO, disk);
    stages.takes('takes a frame for the bio', WANTS_BIO, WRITING, disk, [bio], bio);
    stages.step('has its page written', WRITING, WRITTEN, {
      change: (s) => {
        this.#free(s, disk, bio);
        s[disk.out]--;
        this.#serve(s);
      },
    });
    if (!this.#rules.freesFirst) {
      const change = (s: State): void => {
        if (s[first] !== Source.ACCOUNT) return;
        s[swap.usage]--;
        s[first] = Source.FREE;
      };
      stages.step('has its first frame uncharged', WRITTEN, UNCHARGED, { change });
    }
    stages.step('ends its unit', this.#rules.freesFirst ? WRITTEN : UNCHARGED, READY, {
      kind: 'progress',
      change: (s) => {
        this.#free(s, swap, first);
        this.#keep(s, second);
        s[this.#clean]++; // its page
        s[swap.out]--;
        if (this.#rules.wakes) this.#beginWaiting(s);
        this.#serve(s);
      },
    });
  }

  /** The unit that ended is the next one's before anybody looks. */
  #beginWaiting(s: State): void {
    for (const r of this.#reclaimers) {
      if (s[r] !== WAITS_UNIT || !this.#memory.mayBegin(s, this.#swap)) continue;
      if (s[this.#dirty] === 0) {
        s[r] = READY; // nothing is left to write
        continue;
      }
      s[r] = TAKES_FIRST;
      s[this.#dirty]--;
      s[this.#swap.out]++;
    }
  }

  /** Frees a frame of a unit. */
  #free(s: State, node: MemoryNode, from: number): void {
    if (!this.#rules.returnsToBand && s[from] === Source.ACCOUNT && s[this.#queue[0]] !== 0) {
      this.#memory.uncharge(s, node, from);
      s[this.#readers[this.#dequeue(s)]] = HOLDS;
    } else this.#memory.give(s, node, from);
  }

  /** A frame of a unit holds a page worth keeping: it stays as cache on a frame of ordinary memory, or goes (M5). */
  #keep(s: State, from: number): void {
    const memory = this.#memory;
    if (s[from] === Source.FREE || !this.#rules.exchanges || memory.mayTakeOrdinary(s)) {
      memory.uncharge(s, this.#swap, from);
      s[this.#clean]++;
    } else memory.give(s, this.#swap, from);
  }

  #reader(n: number): void {
    const at = this.#readers[n];
    const memory = this.#memory;
    const stages = new Stages(this.model, memory, `reader ${n}`, at);
    const wants = (s: State): boolean => s[at + 1] < ROUNDS;
    const noteOrder = (s: State): void => {
      const oldest = s[this.#queue[0]];
      if (oldest !== 0 && oldest !== n + 1) s[this.#passed] = 1;
      this.#leave(s, n);
    };
    stages.takesOrdinary('takes a frame', WANTS, HOLDS, { when: wants, change: noteOrder });
    stages.step('waits for a frame', WANTS, QUEUED, {
      when: (s) => wants(s) && !memory.mayTakeOrdinary(s),
      change: (s) => {
        s[this.#queue[s[this.#queue[0]] === 0 ? 0 : 1]] = n + 1;
      },
    });
    if (!this.#rules.handsOn) stages.takesOrdinary('looks again and takes a frame', QUEUED, HOLDS, { change: noteOrder });
    if (n === 1) {
      const change = (s: State): void => {
        if (!this.#rules.leavesQueue) return;
        this.#leave(s, n);
        this.#serve(s);
      };
      stages.step('gives up', QUEUED, LEFT, { change });
    }
    stages.step('makes its page dirty', HOLDS, WANTS, {
      kind: 'progress',
      change: (s) => {
        s[at + 1]++;
        s[this.#dirty]++;
      },
    });
  }

  #leave(s: State, reader: number): void {
    const [head, tail] = this.#queue;
    if (s[head] === reader + 1) this.#dequeue(s);
    else if (s[tail] === reader + 1) s[tail] = 0;
  }

  /** @returns the reader that has waited longest, which no longer does. */
  #dequeue(s: State): number {
    const [head, tail] = this.#queue;
    const reader = s[head] - 1;
    s[head] = s[tail];
    s[tail] = 0;
    return reader;
  }

  /** Free memory has risen: what is above the floor goes to the oldest, before anyone else sees it. */
  #serve(s: State): void {
    if (!this.#rules.handsOn) return;
    while (s[this.#queue[0]] !== 0 && this.#memory.mayTakeOrdinary(s)) {
      const reader = this.#readers[this.#dequeue(s)];
      s[this.#memory.free]--;
      if (s[reader] === LEFT) continue; // nobody is there to take it
      s[reader] = HOLDS;
    }
  }

  #heldBySwap(s: State, reclaimer: number): number {
    return (s[reclaimer + 1] === Source.NONE ? 0 : 1) + (s[reclaimer + 2] === Source.NONE ? 0 : 1);
  }

  #nrFrames(s: State): number {
    let frames = s[this.#memory.free] + s[this.#dirty] + s[this.#clean];
    for (const reader of this.#readers) if (s[reader] === HOLDS) frames++;
    for (const reclaimer of this.#reclaimers) {
      if (s[reclaimer] >= TAKES_FIRST && s[reclaimer] !== GONE) frames++; // the page it writes
      for (let held = reclaimer + 1; held <= reclaimer + 3; held++) if (s[held] !== Source.NONE) frames++;
    }
    return frames;
  }

  #waits(s: State, sink: WaitSink): void {
    const memory = this.#memory;
    const name = (n: number): string => `reclaimer ${n}`;
    const targets = new Set<string>();
    const waits = (task: string, target: string): void => {
      targets.add(target);
      sink.waits(task, target);
    };
    for (const [n, reclaimer] of this.#reclaimers.entries()) {
      const stage = s[reclaimer];
      if (stage === WAITS_UNIT) waits(name(n), 'unit: swap');
      if (stage === TAKES_FIRST || stage === TAKES_SECOND) waits(name(n), memory.waitedForBy(s, this.#swap));
      if (stage === WANTS_DISK) waits(name(n), 'unit: disk');
      if (stage === WANTS_BIO) waits(name(n), memory.waitedForBy(s, this.#disk));
    }
    for (const [n, reader] of this.#readers.entries()) if (s[reader] === QUEUED) waits(`reader ${n}`, memory.floorName(memory.min));
    for (const [n, reclaimer] of this.#reclaimers.entries()) {
      const stage = s[reclaimer];
      if (stage < TAKES_FIRST || stage === GONE) continue;
      for (const target of targets) {
        const isDisk = target.endsWith(': disk');
        if (target.startsWith('frames: ') || !isDisk || stage > WANTS_DISK) sink.heldBy(target, `task: ${name(n)}`);
      }
    }
  }
}
