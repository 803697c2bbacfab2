/**
 * The space `anonymous`: T10 cut to two model nodes. Memory fills with anonymous pages that have no swap; a writer makes file pages dirty,
 * and writing one of them out takes a metadata page that is not in memory.
 *
 *     grower → anonymous pages, as many as it gets          writer → pages of a file
 *     ext3 (metadata page, map) → disk (bio), whose completion takes a frame that cannot wait
 *
 * A unit of ext3, one dirty page:
 *
 *     takes a frame for the metadata page → disk reads it → takes a frame for the map → disk writes the page
 *     end: map freed; metadata page freed, or, where it was taken from free memory, left as clean cache; the page is clean
 *
 * A use of the disk: unit → frame for the bio → I/O → completion, which takes a frame for a moment and may not wait (A of M3). Clean pages
 * are dropped whenever reclaim likes. A ring of receive buffers is refilled out of the same frames as completions and emptied by others.
 *
 * Who asks which mechanism: M3 (three floors: what cannot wait has frames of its own), M5, M8 (two units at once), M10 (the inequality: where
 * a policy checks it, growth ends before a writer of one page at a time is refused). M10's inequality is a function of this file.
 */
import { Gfp, type ReservePolicyFactory } from '@tidemark/core';
import { SearchModel, type State, type WaitSink } from '@tidemark/testkit';
import { type MemoryNode, ModelMemory, Source, SOURCE_MAX } from './model-memory.js';
import { Stages } from './stages.js';

/** What a mutant takes away; each is on unless said. */
export interface AnonymousRules {
  /** M10: growth and dirtying stop at `max_unlaunderable`. Default: where the policy says so. */
  readonly checksInequality?: boolean;
  /** M3: frames set aside for completions and the ring. Default: as many as those may hold. */
  readonly atomicFrames?: number;
}

const NR_FRAMES = 16;
const MIN_FRAMES = 4;
const EXT3_UNITS = 2;
const DISK_UNITS = 1;
const WINDOW = 3;
const NR_WRITER_PAGES = 4;
const RING_FRAMES = 1;
const COMPLETION_FRAMES = 1;
/** Most buffers that foreign packets would fill. */
const RING_WANTED = 2;

/** Stages of a unit. */
const IDLE = 0;
const WANTS_METADATA = 1;
const WANTS_READ = 2;
const WANTS_READ_BIO = 3;
const READING = 4;
const COMPLETING_READ = 5;
const WANTS_MAP = 6;
const WANTS_WRITE = 7;
const WANTS_WRITE_BIO = 8;
const WRITING = 9;
const COMPLETING_WRITE = 10;

const GROWING = 0;
const REFUSED = 1;

/** M10: what reclaim can neither drop nor swap out, in frames. */
export function unlaunderableFrames(use: { anonymous: number; dirty: number; underWriteback: number; emergency: number }): number {
  return use.anonymous + use.dirty + use.underWriteback + use.emergency;
}

/** The model under a policy, with the rules of `rules`. */
export function anonymousModel(policy: ReservePolicyFactory, rules: AnonymousRules = {}): SearchModel {
  return new Anonymous(policy, rules).model;
}

class Anonymous {
  readonly model = new SearchModel('anonymous', { pages: NR_FRAMES, tasks: 4, layers: 2, needFrames: 2 });
  readonly #memory: ModelMemory;
  readonly #ext3: MemoryNode;
  readonly #disk: MemoryNode;
  readonly #checksInequality: boolean;
  readonly #maxUnlaunderable: number;
  readonly #anonymous: number;
  readonly #dirty: number;
  readonly #clean: number;
  readonly #grower: number;
  readonly #pagesLeft: number;
  readonly #isWriterRefused: number;
  readonly #ring: number;
  readonly #completions: number;
  readonly #units: number[];

  constructor(policy: ReservePolicyFactory, rules: AnonymousRules) {
    const { model } = this;
    this.#memory = new ModelMemory(model, {
      nrFrames: NR_FRAMES,
      minFrames: MIN_FRAMES,
      policy,
      initiallyFree: NR_FRAMES,
      nodes: [
        { name: 'ext3', kind: 'filesystem', need: 2, nrUnits: EXT3_UNITS },
        {
          name: 'disk',
          kind: 'block-device',
          need: 1,
          nrUnits: DISK_UNITS,
          atomicFrames: rules.atomicFrames ?? RING_FRAMES + COMPLETION_FRAMES,
        },
      ],
    });
    [this.#ext3, this.#disk] = this.#memory.nodes;
    this.#checksInequality = rules.checksInequality ?? this.#memory.policy.checksInequality;
    // What is left is one page for a writer, beside A twice: set aside, and in the hands of those who took it, for `min` does not fall then.
    this.#maxUnlaunderable = NR_FRAMES - 2 * (RING_FRAMES + COMPLETION_FRAMES) - 1;
    this.#anonymous = model.cell('anonymous', NR_FRAMES);
    this.#dirty = model.cell('dirty', NR_WRITER_PAGES);
    this.#clean = model.cell('clean', NR_FRAMES);
    this.#grower = model.cell('grower', REFUSED);
    this.#pagesLeft = model.cell('writer.pagesLeft', NR_WRITER_PAGES, NR_WRITER_PAGES);
    this.#isWriterRefused = model.cell('writer.isRefused', 1);
    this.#ring = model.cell('ring', RING_WANTED);
    this.#completions = model.cell('completions', WINDOW);
    const fields = { stage: COMPLETING_WRITE, metadata: SOURCE_MAX, map: SOURCE_MAX, bio: SOURCE_MAX };
    this.#units = model.records('unit', WINDOW, fields, { interchangeable: true });
    this.#growth();
    this.#writer();
    this.#atomic();
    for (const [i, unit] of this.#units.entries()) this.#unit(`unit ${i}`, unit);
    model.invariant('every frame has one owner', (s) => this.#nrFrames(s) === NR_FRAMES);
    if (this.#memory.policy.checksInequality)
      model.invariant('a writer of one page at a time is not refused', (s) => s[this.#isWriterRefused] === 0);
    model.doneWhen((s) => s[this.#grower] === REFUSED && s[this.#pagesLeft] === 0 && s[this.#dirty] === 0 && !this.#isInFlight(s));
    model.waitsAre((s, sink) => this.#waits(s, sink));
  }

  #isInFlight(s: State): boolean {
    return this.#units.some((unit) => s[unit] !== IDLE);
  }

  #unlaunderable(s: State): number {
    let underWriteback = 0;
    for (const unit of this.#units) if (s[unit] !== IDLE) underWriteback++;
    const emergency = this.#memory.emergencyOf(s);
    return unlaunderableFrames({ anonymous: s[this.#anonymous], dirty: s[this.#dirty], underWriteback, emergency });
  }

  #mayGrow(s: State): boolean {
    return !this.#checksInequality || this.#unlaunderable(s) < this.#maxUnlaunderable;
  }

  /** Every device may always have one unit dirty and in its pipe, whatever the limits come to. */
  #mayDirty(s: State): boolean {
    return (s[this.#dirty] === 0 && !this.#isInFlight(s)) || this.#mayGrow(s);
  }

  /** M1: ENOMEM comes only if nothing is reclaimable and nothing is in flight. */
  #isHopeless(s: State): boolean {
    return s[this.#clean] === 0 && s[this.#dirty] === 0 && !this.#isInFlight(s);
  }

  #growth(): void {
    const { model } = this;
    const memory = this.#memory;
    model.progress(
      'grower takes a page',
      (s) => s[this.#grower] === GROWING && this.#mayGrow(s) && memory.mayTakeOrdinary(s),
      (s) => {
        s[memory.free]--;
        s[this.#anonymous]++;
      },
    );
    model.progress(
      'grower gets ENOMEM',
      (s) => s[this.#grower] === GROWING && this.#isHopeless(s) && !(this.#mayGrow(s) && memory.mayTakeOrdinary(s)),
      (s) => {
        s[this.#grower] = REFUSED;
      },
    );
    model.step(
      'reclaim drops a clean page',
      (s) => s[this.#clean] > 0,
      (s) => {
        s[this.#clean]--;
        s[memory.free]++;
      },
    );
  }

  #writer(): void {
    const { model } = this;
    const memory = this.#memory;
    const may = (s: State): boolean => this.#mayDirty(s) && memory.mayTakeOrdinary(s);
    model.progress(
      'writer takes a page and makes it dirty',
      (s) => s[this.#pagesLeft] > 0 && may(s),
      (s) => {
        s[memory.free]--;
        s[this.#dirty]++;
        s[this.#pagesLeft]--;
      },
    );
    model.progress(
      'writer gets ENOMEM',
      (s) => s[this.#pagesLeft] > 0 && this.#isHopeless(s) && !may(s),
      (s) => {
        s[this.#pagesLeft] = 0;
        s[this.#isWriterRefused] = 1;
      },
    );
  }

  /** The ring takes what cannot wait. Traffic of others goes on for ever and is no sign of life. */
  #atomic(): void {
    const { model } = this;
    const memory = this.#memory;
    model.timer(
      'ring is refilled',
      (s) => s[this.#ring] < RING_WANTED && memory.mayTakeOrdinary(s, Gfp.TRANSIENT | Gfp.ATOMIC),
      (s) => {
        s[memory.free]--;
        s[this.#ring]++;
      },
    );
    model.timer(
      'ring is emptied by others',
      (s) => s[this.#ring] > 0,
      (s) => {
        s[memory.free]++;
        s[this.#ring]--;
      },
    );
  }

  #unit(name: string, unit: number): void {
    const [stage, metadata, map, bio] = [unit, unit + 1, unit + 2, unit + 3];
    const memory = this.#memory;
    const ext3 = this.#ext3;
    const disk = this.#disk;
    const stages = new Stages(this.model, memory, name, stage);
    const diskDoes = (what: string, from: number): void => {
      stages.begins(`disk begins a unit to ${what}`, from, from + 1, disk);
      stages.takes(`disk takes a frame to ${what}`, from + 1, from + 2, disk, [bio], bio);
      stages.step(`disk can ${what}: the completion takes a frame`, from + 2, from + 3, {
        when: (s) => memory.mayTakeOrdinary(s, Gfp.TRANSIENT | Gfp.ATOMIC),
        change: (s) => {
          s[memory.free]--;
          s[this.#completions]++;
        },
      });
    };
    const diskEnds = (s: State): void => {
      s[memory.free]++;
      s[this.#completions]--;
      memory.give(s, disk, bio);
      s[disk.out]--;
    };
    stages.begins('begins', IDLE, WANTS_METADATA, ext3, { when: (s) => s[this.#dirty] > 0, change: (s) => s[this.#dirty]-- });
    stages.takes('takes a frame for the metadata page', WANTS_METADATA, WANTS_READ, ext3, [metadata, map], metadata);
    diskDoes('read', WANTS_READ);
    stages.step('has its metadata', COMPLETING_READ, WANTS_MAP, { change: diskEnds });
    stages.takes('takes a frame for the map', WANTS_MAP, WANTS_WRITE, ext3, [metadata, map], map);
    diskDoes('write', WANTS_WRITE);
    stages.step('ends', COMPLETING_WRITE, IDLE, {
      kind: 'progress',
      change: (s) => {
        diskEnds(s);
        memory.give(s, ext3, map);
        if (s[metadata] !== Source.ACCOUNT) {
          memory.uncharge(s, ext3, metadata);
          s[this.#clean]++; // ordinary memory: it may stay as cache
        } else memory.give(s, ext3, metadata);
        s[ext3.out]--;
        s[this.#clean]++;
      },
    });
  }

  #nrFrames(s: State): number {
    let frames = s[this.#memory.free] + s[this.#anonymous] + s[this.#dirty] + s[this.#clean] + s[this.#ring] + s[this.#completions];
    for (const unit of this.#units) {
      if (s[unit] !== IDLE) frames++; // its page
      for (let held = unit + 1; held <= unit + 3; held++) if (s[held] !== Source.NONE) frames++;
    }
    return frames;
  }

  #waits(s: State, sink: WaitSink): void {
    const memory = this.#memory;
    const [ext3, disk] = memory.nodes.map(({ name }) => name);
    const frames = new Set<string>();
    const forFrame = (task: string, target: string): void => {
      if (target.startsWith('frames: ')) frames.add(target);
      sink.waits(task, target);
    };
    for (const unit of this.#units) {
      const stage = s[unit];
      if (stage === WANTS_METADATA || stage === WANTS_MAP) forFrame(ext3, memory.waitedForBy(s, this.#ext3));
      if (stage === WANTS_READ || stage === WANTS_WRITE) sink.waits(ext3, `unit: ${disk}`);
      if (stage === WANTS_READ_BIO || stage === WANTS_WRITE_BIO) forFrame(disk, memory.waitedForBy(s, this.#disk));
      if (stage === READING || stage === WRITING) forFrame('completion', 'frames: atomic');
      const usesDisk = (stage >= WANTS_READ_BIO && stage <= COMPLETING_READ) || (stage >= WANTS_WRITE_BIO && stage <= COMPLETING_WRITE);
      if (usesDisk) sink.waits(ext3, 'page: I/O');
    }
    if (s[this.#grower] === GROWING) forFrame('grower', memory.floorName(memory.min));
    if (s[this.#pagesLeft] > 0) forFrame('writer', memory.floorName(memory.min));
    sink.heldBy('page: I/O', `task: ${disk}`);
    sink.heldBy(`unit: ${disk}`, `task: ${disk}`);
    if (this.#units.some((unit) => s[unit] === READING || s[unit] === WRITING)) sink.waits(disk, 'completion: I/O');
    sink.heldBy('completion: I/O', 'task: completion');
    for (const target of frames) {
      if (s[this.#dirty] > 0 || this.#isInFlight(s)) sink.heldBy(target, `task: ${ext3}`);
      if (this.#units.some((unit) => s[unit + 3] !== Source.NONE)) sink.heldBy(target, `task: ${disk}`);
    }
  }
}
