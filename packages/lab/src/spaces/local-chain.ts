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
import type { ReservePolicyFactory } from '@tidemark/core';
import { SearchModel, type State, type WaitSink } from '@tidemark/testkit';
import { type MemoryNode, ModelMemory, Source, SOURCE_MAX } from './model-memory.js';
import { Stages } from './stages.js';

/** What a mutant takes away; each is on unless said. */
export interface LocalChainRules {
  /** M11: the local writer gets its page before any lock, and locks only with ext3's ticket. Off: lock first, then the page. */
  readonly pageBeforeLock?: boolean;
  /** M16: the server works on its client's right. Off: its allocations are anybody's. */
  readonly entitled?: boolean;
  /** M16: no dirty limit pauses the server. Off: the limit of the client's device does, and counts the client's own pages. */
  readonly exempt?: boolean;
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
const NR_WRITER_PAGES = 2;
/** Dirty pages above which whoever dirties more is paused, unless exempt. */
const DIRTY_LIMIT = 2;

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
export function localChainModel(policy: ReservePolicyFactory, rules: LocalChainRules = {}): SearchModel {
  return new LocalChain(policy, rules).model;
}

class LocalChain {
  readonly model = new SearchModel('local-chain', { pages: NR_FRAMES, tasks: 4, layers: 3, needFrames: 2 });
  readonly #memory: ModelMemory;
  readonly #client: MemoryNode;
  readonly #server: MemoryNode;
  readonly #ext3: MemoryNode;
  readonly #isEntitled: boolean;
  readonly #commitIsUnit: boolean;
  readonly #isExempt: boolean;
  readonly #dirty: number;
  readonly #lock: number;
  readonly #commit: number;
  readonly #pagesLeft: number;
  readonly #local: number;
  readonly #localMap: number;
  readonly #writes: number[];

  constructor(policy: ReservePolicyFactory, rules: LocalChainRules) {
    const { model } = this;
    const { pageBeforeLock = true, entitled = true, exempt = true, serverUnits = SERVER_UNITS } = rules;
    this.#isExempt = exempt;
    this.#isEntitled = entitled;
    this.#memory = new ModelMemory(model, {
      nrFrames: NR_FRAMES,
      minFrames: MIN_FRAMES,
      policy,
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
    const memory = this.#memory;
    this.model.progress(
      'writer takes a page and makes it dirty',
      (s) => s[this.#pagesLeft] > 0 && memory.mayTakeOrdinary(s),
      (s) => {
        s[memory.free]--;
        s[this.#dirty]++;
        s[this.#pagesLeft]--;
      },
    );
  }

  /** One write of a page from beginning to end; a record of the window. */
  #write(name: string, write: number): void {
    const [stage, call, request, page, map] = [write, write + 1, write + 2, write + 3, write + 4];
    const memory = this.#memory;
    const [client, server, ext3] = [this.#client, this.#server, this.#ext3];
    const stages = new Stages(this.model, memory, name, stage);
    const serverTakes = (what: string, from: number, to: number, into: number): void => {
      if (this.#isEntitled) stages.takes(what, from, to, server, [request, page], into);
      else {
        const change = (s: State): void => {
          s[into] = Source.FREE;
        };
        stages.takesOrdinary(what, from, to, { change });
      }
    };
    stages.begins('client begins a unit', IDLE, CALLING, client, { when: (s) => s[this.#dirty] > 0, change: (s) => s[this.#dirty]-- });
    stages.takes('client takes a frame for the call', CALLING, SENT, client, [call], call);
    stages.begins('server begins a unit', SENT, ASKED, server);
    serverTakes('server takes a frame for the request', ASKED, PAGING, request);
    serverTakes('server takes a frame for the page', PAGING, OPERATING, page);
    stages.begins('server gets a ticket of ext3', OPERATING, LOCKING, ext3, {
      when: (s) => this.#isExempt || this.#nrDirty(s) <= DIRTY_LIMIT,
    });
    stages.step('server takes the inode lock', LOCKING, COPYING, {
      when: (s) => s[this.#lock] === UNLOCKED,
      change: (s) => {
        s[this.#lock] = BY_SERVER;
      },
    });
    stages.step('server has copied and replies', COPYING, UNSTABLE, {
      change: (s) => {
        s[this.#lock] = UNLOCKED;
        s[ext3.out]--;
        memory.give(s, server, request);
      },
    });
    stages.begins('ext3 begins a unit', FLUSHING, MAPPING, ext3);
    stages.takes('ext3 takes a frame for the map', MAPPING, WRITING, ext3, [map], map);
    stages.step('disk has written', WRITING, STABLE, {
      change: (s) => {
        memory.give(s, ext3, map);
        s[ext3.out]--;
      },
    });
  }

  /** COMMIT: one at a time, for all pages that are UNSTABLE when it gets to the server. */
  #commits(): void {
    const memory = this.#memory;
    const stages = new Stages(this.model, memory, 'COMMIT', this.#commit);
    const isAny = (s: State, first: number, last: number): boolean => this.#writes.some((w) => s[w] >= first && s[w] <= last);
    stages.step('client sends it', COMMIT_IDLE, COMMIT_SENT, { when: (s) => isAny(s, UNSTABLE, UNSTABLE) });
    stages.step('server takes it up', COMMIT_SENT, COMMIT_RUNS, {
      when: (s) => !this.#commitIsUnit || memory.mayBegin(s, this.#server),
      change: (s) => {
        if (this.#commitIsUnit) s[this.#server.out]++;
        for (const w of this.#writes) if (s[w] === UNSTABLE) s[w] = FLUSHING;
      },
    });
    stages.step('server replies', COMMIT_RUNS, COMMIT_IDLE, {
      kind: 'progress',
      when: (s) => !isAny(s, FLUSHING, WRITING),
      change: (s) => {
        if (this.#commitIsUnit) s[this.#server.out]--;
        for (const w of this.#writes) if (s[w] === STABLE) this.#endWrite(s, w);
      },
    });
  }

  /** The units of a page end in client and server; the client's page is clean, and goes. */
  #endWrite(s: State, write: number): void {
    const memory = this.#memory;
    s[write] = IDLE;
    memory.give(s, this.#server, write + 3);
    s[this.#server.out]--;
    memory.give(s, this.#client, write + 1);
    s[this.#client.out]--;
    s[memory.free]++;
  }

  /** A task on the server's side that writes one page of the same file, and that page's writeout. */
  #localWriter(pageBeforeLock: boolean): void {
    const memory = this.#memory;
    const ext3 = this.#ext3;
    const stages = new Stages(this.model, memory, 'local writer', this.#local);
    const locks = (to: number): void =>
      stages.step('takes the inode lock', WANTS_LOCK, to, {
        when: (s) => s[this.#lock] === UNLOCKED,
        change: (s) => {
          s[this.#lock] = BY_WRITER;
        },
      });
    if (pageBeforeLock) {
      stages.takesOrdinary('takes a page', WANTS_PAGE, WANTS_TICKET);
      stages.begins('gets a ticket of ext3', WANTS_TICKET, WANTS_LOCK, ext3);
      locks(IN_LOCK);
    } else {
      locks(LOCKED_WANTS_PAGE);
      stages.takesOrdinary('takes a page', LOCKED_WANTS_PAGE, IN_LOCK);
    }
    stages.step('has copied', IN_LOCK, DIRTY, {
      change: (s) => {
        s[this.#lock] = UNLOCKED;
        if (pageBeforeLock) s[ext3.out]--;
      },
    });
    stages.begins('ext3 begins a unit for its page', DIRTY, WANTS_MAP, ext3);
    stages.takes('ext3 takes a frame for its map', WANTS_MAP, IN_WRITEBACK, ext3, [this.#localMap], this.#localMap);
    stages.step('disk has written its page', IN_WRITEBACK, FINISHED, {
      kind: 'progress',
      change: (s) => {
        memory.give(s, ext3, this.#localMap);
        s[ext3.out]--;
        s[memory.free]++;
      },
    });
  }

  /** M10: file pages that are dirty or under writeback; those of the client. */
  #nrDirty(s: State): number {
    let pages = s[this.#dirty];
    for (const write of this.#writes) if (s[write] !== IDLE) pages++;
    return pages;
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
      if (stage === OPERATING) waits(server, this.#isExempt ? `unit: ${ext3}` : 'limit: dirty');
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
    sink.heldBy('limit: dirty', `task: ${client}`);
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
