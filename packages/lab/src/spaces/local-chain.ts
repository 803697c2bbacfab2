/**
 * The space `local-chain`: T6 cut to three model nodes. Everything is dirty, there is no swap and nothing clean; memory has come down to
 * the ordinary floor.
 *
 *     writer → page of a file on NFS        nfs-client (call) → nfs-server (request, cache page) → ext3 (map) → disk
 *     local writer → page of the same file, on the server's side
 *
 * One write of a page, as it goes through the three nodes (M7, M15, M16):
 *
 *     client unit begins, takes a frame for the call → WRITE sent
 *     server unit begins, takes a frame for the request and one for the cache page, before any lock
 *     a ticket of ext3 → inode lock → copy → lock and ticket back → request freed, reply: UNSTABLE; the server's unit goes on
 *     COMMIT, sent while any page is UNSTABLE, takes a unit of the server and no frame: the server writes those pages out
 *     ext3 unit begins, takes a frame for the map → I/O → map freed, unit ended
 *     COMMIT replied: the units of its pages end in both, call and cache page are freed, the client's page is clean and freed
 *
 * Who asks which mechanism: M4 (levels and gaps, under `limits`), M5 (what a unit holds until the nodes below have finished), M8 (bounded
 * users), M11 (lock order), M16 (rights across the edge).
 */
import { SearchModel, type State, type WaitSink } from '@tidemark/testkit';
import { type Answer, type MemoryNode, ModelMemory, Source, SOURCE_MAX } from './model-memory.js';

/** What a mutant takes away; each is on unless said. */
export interface LocalChainRules {
  /** M11: the local writer gets its page before any lock, and locks only with ext3's ticket. Off: lock first, then the page. */
  readonly pageBeforeLock?: boolean;
  /** M16: the server works on its client's right. Off: its allocations are anybody's. */
  readonly entitled?: boolean;
  /** M16: units the server keeps for the client: one for each write unit and one for COMMIT. */
  readonly serverUnits?: number;
  /**
   * Whether COMMIT is a unit of the server like any other. Default: where rights cross the edge, since only there the server keeps units for
   * its client; under the other policies any thread of the server takes it up.
   */
  readonly commitIsUnit?: boolean;
}

const CLIENT_UNITS = 2;
const SERVER_UNITS = CLIENT_UNITS + 1;
const EXT3_UNITS = 2;
const NR_FRAMES = 16;
/** M1's `min` by hand. Under the policies without accounts it is the whole reserve; the window against it is larger (M23's precondition). */
const MIN_FRAMES = 4;
const WINDOW = 3;
const NR_WRITER_PAGES = 3;

/** Stages of a write of a page. */
const IDLE = 0;
const CALLING = 1;
const SENT = 2;
const ASKED = 3;
const PAGING = 4;
const OPERATING = 5;
const LOCKING = 6;
const COPYING = 7;
const UNSTABLE = 8;
const FLUSHING = 9;
const MAPPING = 10;
const WRITING = 11;
const STABLE = 12;

/** Stages of the local writer: page, ticket, lock, copy, and its page's writeout. */
const WANTS_PAGE = 0;
const WANTS_TICKET = 1;
const WANTS_LOCK = 2;
const IN_LOCK = 3;
const DIRTY = 4;
const WANTS_MAP = 5;
const IN_WRITEBACK = 6;
const FINISHED = 7;
/** With the order turned round: in the lock, without a page. */
const LOCKED_WANTS_PAGE = 8;

/** Who holds the inode lock. */
const UNLOCKED = 0;
const BY_SERVER = 1;
const BY_WRITER = 2;

const COMMIT_IDLE = 0;
const COMMIT_SENT = 1;
const COMMIT_RUNS = 2;

/** The model under a policy, with the rules of `rules`. */
export function localChainModel(answer: Answer, rules: LocalChainRules = {}): SearchModel {
  return new LocalChain(answer, rules).model;
}

class LocalChain {
  readonly model = new SearchModel('local-chain', { pages: NR_FRAMES, tasks: 4, layers: 3, needFrames: 2 });
  readonly #memory: ModelMemory;
  readonly #client: MemoryNode;
  readonly #server: MemoryNode;
  readonly #ext3: MemoryNode;
  readonly #isEntitled: boolean;
  readonly #commitIsUnit: boolean;
  readonly #dirty: number;
  readonly #lock: number;
  readonly #commit: number;
  readonly #pagesLeft: number;
  readonly #local: number;
  readonly #localMap: number;
  readonly #writes: number[];

  constructor(answer: Answer, rules: LocalChainRules) {
    const { model } = this;
    const { pageBeforeLock = true, entitled = true, serverUnits = SERVER_UNITS } = rules;
    this.#isEntitled = entitled;
    this.#memory = new ModelMemory(model, {
      nrFrames: NR_FRAMES,
      minFrames: MIN_FRAMES,
      answer,
      nodes: [
        { name: 'nfs-client', kind: 'filesystem', need: 1, nrUnits: CLIENT_UNITS, isReclaim: true },
        { name: 'nfs-server', kind: 'server', need: 2, nrUnits: serverUnits },
        { name: 'ext3', kind: 'filesystem', need: 1, nrUnits: EXT3_UNITS },
      ],
    });
    [this.#client, this.#server, this.#ext3] = this.#memory.nodes;
    this.#commitIsUnit = rules.commitIsUnit ?? this.#memory.policy.rightsCrossEdges;
    this.#dirty = model.cell('dirty', NR_FRAMES, NR_FRAMES - this.#memory.min);
    this.#lock = model.cell('lock', 2);
    this.#commit = model.cell('commit', 2);
    this.#pagesLeft = model.cell('writer.pagesLeft', NR_WRITER_PAGES, NR_WRITER_PAGES);
    this.#local = model.cell('local.stage', LOCKED_WANTS_PAGE, pageBeforeLock ? WANTS_PAGE : WANTS_LOCK);
    this.#localMap = model.cell('local.map', SOURCE_MAX);
    const fields = { stage: STABLE, call: SOURCE_MAX, request: SOURCE_MAX, page: SOURCE_MAX, map: SOURCE_MAX };
    this.#writes = model.records('write', WINDOW, fields, { interchangeable: true });
    this.#writer();
    this.#localWriter(pageBeforeLock);
    for (const [i, write] of this.#writes.entries()) this.#write(`write ${i}`, write);
    this.#commits();
    model.invariant('every frame has one owner', (s) => this.#nrFrames(s) === NR_FRAMES);
    model.doneWhen(
      (s) =>
        s[this.#pagesLeft] === 0 &&
        s[this.#local] === FINISHED &&
        s[this.#commit] === COMMIT_IDLE &&
        this.#writes.every((w) => s[w] === IDLE),
    );
    model.waitsAre((s, sink) => this.#waits(s, sink));
  }

  /** A task that dirties pages of the client, one after the other. */
  #writer(): void {
    const free = this.#memory.free;
    this.model.progress(
      'writer takes a page and makes it dirty',
      (s) => s[this.#pagesLeft] > 0 && this.#memory.mayTakeOrdinary(s),
      (s) => {
        s[free]--;
        s[this.#dirty]++;
        s[this.#pagesLeft]--;
      },
    );
  }

  /** One write of a page from beginning to end; a record of the window. */
  #write(name: string, write: number): void {
    const [stage, call, request, page, map] = [write, write + 1, write + 2, write + 3, write + 4];
    const memory = this.#memory;
    const step = (what: string, at: number, to: number, may: (s: State) => boolean, then: (s: State) => void): void =>
      this.model.step(
        `${name}: ${what}`,
        (s) => s[stage] === at && may(s),
        (s) => {
          s[stage] = to;
          then(s);
        },
      );
    const takes = (what: string, at: number, to: number, node: MemoryNode, held: readonly number[], into: number): void => {
      const isStranger = node === this.#server && !this.#isEntitled;
      const may = isStranger ? (s: State) => memory.mayTakeOrdinary(s) : (s: State) => memory.sourceFor(s, node, held) !== Source.NONE;
      step(what, at, to, may, (s) => memory.take(s, node, held, into));
    };
    step(
      'client begins a unit',
      IDLE,
      CALLING,
      (s) => s[this.#dirty] > 0 && memory.mayBegin(s, this.#client),
      (s) => {
        s[this.#dirty]--;
        s[this.#client.out]++;
      },
    );
    takes('client takes a frame for the call', CALLING, SENT, this.#client, [call], call);
    step(
      'server begins a unit',
      SENT,
      ASKED,
      (s) => memory.mayBegin(s, this.#server),
      (s) => s[this.#server.out]++,
    );
    takes('server takes a frame for the request', ASKED, PAGING, this.#server, [request, page], request);
    takes('server takes a frame for the page', PAGING, OPERATING, this.#server, [request, page], page);
    step(
      'server gets a ticket of ext3',
      OPERATING,
      LOCKING,
      (s) => memory.mayBegin(s, this.#ext3),
      (s) => s[this.#ext3.out]++,
    );
    step(
      'server takes the inode lock',
      LOCKING,
      COPYING,
      (s) => s[this.#lock] === UNLOCKED,
      (s) => {
        s[this.#lock] = BY_SERVER;
      },
    );
    step(
      'server has copied and replies',
      COPYING,
      UNSTABLE,
      () => true,
      (s) => {
        s[this.#lock] = UNLOCKED;
        s[this.#ext3.out]--;
        memory.give(s, this.#server, request);
      },
    );
    step(
      'ext3 begins a unit',
      FLUSHING,
      MAPPING,
      (s) => memory.mayBegin(s, this.#ext3),
      (s) => s[this.#ext3.out]++,
    );
    takes('ext3 takes a frame for the map', MAPPING, WRITING, this.#ext3, [map], map);
    step(
      'disk has written',
      WRITING,
      STABLE,
      () => true,
      (s) => {
        memory.give(s, this.#ext3, map);
        s[this.#ext3.out]--;
      },
    );
  }

  /** COMMIT: one at a time, for all pages that are UNSTABLE when it gets to the server. */
  #commits(): void {
    const { model } = this;
    const memory = this.#memory;
    const some = (s: State, first: number, last: number): boolean => this.#writes.some((w) => s[w] >= first && s[w] <= last);
    model.step(
      'client sends COMMIT',
      (s) => s[this.#commit] === COMMIT_IDLE && some(s, UNSTABLE, UNSTABLE),
      (s) => {
        s[this.#commit] = COMMIT_SENT;
      },
    );
    model.step(
      'server takes up COMMIT',
      (s) => s[this.#commit] === COMMIT_SENT && (!this.#commitIsUnit || memory.mayBegin(s, this.#server)),
      (s) => {
        s[this.#commit] = COMMIT_RUNS;
        if (this.#commitIsUnit) s[this.#server.out]++;
        for (const w of this.#writes) if (s[w] === UNSTABLE) s[w] = FLUSHING;
      },
    );
    model.progress(
      'server replies to COMMIT',
      (s) => s[this.#commit] === COMMIT_RUNS && !some(s, FLUSHING, WRITING),
      (s) => {
        s[this.#commit] = COMMIT_IDLE;
        if (this.#commitIsUnit) s[this.#server.out]--;
        for (const w of this.#writes) {
          if (s[w] !== STABLE) continue;
          s[w] = IDLE;
          memory.give(s, this.#server, w + 3);
          s[this.#server.out]--;
          memory.give(s, this.#client, w + 1);
          s[this.#client.out]--;
          s[memory.free]++; // the client's page is clean: it goes at once
        }
      },
    );
  }

  /** A task on the server's side that writes one page of the same file, and that page's writeout. */
  #localWriter(pageBeforeLock: boolean): void {
    const memory = this.#memory;
    const ext3 = this.#ext3;
    const step = (what: string, at: number, to: number, may: (s: State) => boolean, then: (s: State) => void): void =>
      this.model.step(
        `local writer: ${what}`,
        (s) => s[this.#local] === at && may(s),
        (s) => {
          s[this.#local] = to;
          then(s);
        },
      );
    const takesPage = (at: number, to: number): void =>
      step(
        'takes a page',
        at,
        to,
        (s) => memory.mayTakeOrdinary(s),
        (s) => s[memory.free]--,
      );
    const locks = (to: number): void =>
      step(
        'takes the inode lock',
        WANTS_LOCK,
        to,
        (s) => s[this.#lock] === UNLOCKED,
        (s) => {
          s[this.#lock] = BY_WRITER;
        },
      );
    if (pageBeforeLock) {
      takesPage(WANTS_PAGE, WANTS_TICKET);
      step(
        'gets a ticket of ext3',
        WANTS_TICKET,
        WANTS_LOCK,
        (s) => memory.mayBegin(s, ext3),
        (s) => s[ext3.out]++,
      );
      locks(IN_LOCK);
    } else {
      locks(LOCKED_WANTS_PAGE);
      takesPage(LOCKED_WANTS_PAGE, IN_LOCK);
    }
    step(
      'has copied',
      IN_LOCK,
      DIRTY,
      () => true,
      (s) => {
        s[this.#lock] = UNLOCKED;
        if (pageBeforeLock) s[ext3.out]--;
      },
    );
    step(
      'ext3 begins a unit for its page',
      DIRTY,
      WANTS_MAP,
      (s) => memory.mayBegin(s, ext3),
      (s) => s[ext3.out]++,
    );
    step(
      'ext3 takes a frame for its map',
      WANTS_MAP,
      IN_WRITEBACK,
      (s) => memory.sourceFor(s, ext3, [this.#localMap]) !== Source.NONE,
      (s) => memory.take(s, ext3, [this.#localMap], this.#localMap),
    );
    step(
      'disk has written its page',
      IN_WRITEBACK,
      FINISHED,
      () => true,
      (s) => {
        memory.give(s, ext3, this.#localMap);
        s[ext3.out]--;
        s[memory.free]++;
      },
    );
  }

  #localHoldsPage(s: State): boolean {
    const at = s[this.#local];
    const hasNone = at === WANTS_PAGE || at === LOCKED_WANTS_PAGE || at === FINISHED;
    return !hasNone && !(at === WANTS_LOCK && this.model.cells[this.#local].initial === WANTS_LOCK);
  }

  #nrFrames(s: State): number {
    let frames = s[this.#memory.free] + s[this.#dirty] + (s[this.#localMap] > 0 ? 1 : 0) + (this.#localHoldsPage(s) ? 1 : 0);
    for (const write of this.#writes) {
      if (s[write] !== IDLE) frames++; // the client's page, under writeback
      for (let held = write + 1; held <= write + 4; held++) if (s[held] !== Source.NONE) frames++;
    }
    return frames;
  }

  #waits(s: State, sink: WaitSink): void {
    const memory = this.#memory;
    const ordinary = memory.floorName(memory.min);
    const targets = new Set<string>();
    const waits = (task: string, target: string): void => {
      targets.add(target);
      sink.waits(task, target);
    };
    const forFrame = (node: MemoryNode): void =>
      waits(node.name, node === this.#server && !this.#isEntitled ? ordinary : memory.waitedForBy(s, node));
    const [client, server, ext3] = memory.nodes.map(({ name }) => name);
    const local = s[this.#local];
    for (const write of this.#writes) {
      const stage = s[write];
      if (stage === CALLING) forFrame(this.#client);
      if (stage >= SENT && stage < UNSTABLE) waits(client, 'call: WRITE');
      if (stage === SENT) waits(server, `unit: ${server}`);
      if (stage === ASKED || stage === PAGING) forFrame(this.#server);
      if (stage === OPERATING) waits(server, `unit: ${ext3}`);
      if (stage === LOCKING) waits(server, 'lock: inode');
      if (stage === UNSTABLE) waits(server, 'call: COMMIT');
      if (stage >= UNSTABLE) waits(client, 'call: COMMIT');
      if (stage >= FLUSHING && stage < STABLE) waits(server, 'page: ext3 writeback');
      if (stage === FLUSHING) waits(ext3, `unit: ${ext3}`);
      if (stage === MAPPING) forFrame(this.#ext3);
    }
    if (s[this.#commit] === COMMIT_SENT) sink.heldBy('call: COMMIT', `unit: ${server}`);
    if (s[this.#commit] === COMMIT_RUNS) sink.heldBy('call: COMMIT', `task: ${server}`);
    if (s[this.#pagesLeft] > 0) waits('writer', ordinary);
    if (local === WANTS_PAGE || local === LOCKED_WANTS_PAGE) waits('local writer', ordinary);
    if (local === WANTS_TICKET || local === DIRTY) waits('local writer', `unit: ${ext3}`);
    if (local === WANTS_LOCK) waits('local writer', 'lock: inode');
    if (local === WANTS_MAP) forFrame(this.#ext3);
    sink.heldBy('call: WRITE', `task: ${server}`);
    sink.heldBy('page: ext3 writeback', `task: ${ext3}`);
    sink.heldBy(`unit: ${server}`, `task: ${server}`);
    if (s[this.#lock] === BY_WRITER) sink.heldBy('lock: inode', 'task: local writer');
    if (s[this.#lock] === BY_SERVER) sink.heldBy('lock: inode', `task: ${server}`);
    for (const target of targets) if (target.startsWith('frames: ')) this.#holdersOfFrames(s, sink, target);
  }

  /** Whose frames must come back for free memory to rise. */
  #holdersOfFrames(s: State, sink: WaitSink, target: string): void {
    const [client, server, ext3] = this.#memory.nodes.map(({ name }) => `task: ${name}`);
    if (s[this.#dirty] > 0 || this.#writes.some((w) => s[w] !== IDLE)) sink.heldBy(target, client);
    if (this.#writes.some((w) => s[w + 2] !== Source.NONE || s[w + 3] !== Source.NONE)) sink.heldBy(target, server);
    if (s[this.#localMap] !== Source.NONE || this.#writes.some((w) => s[w + 4] !== Source.NONE)) sink.heldBy(target, ext3);
  }
}
