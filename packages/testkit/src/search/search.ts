/**
 * The exhaustive search: every state of a model that any schedule and any order of completions can reach, each visited once, breadth
 * first, so that every state is reached by a shortest path. What it says is a proof for the model and its bounds, and for nothing else.
 *
 * Three verdicts about a state that is not done, each a part of the next:
 *
 *     stuck           whatever timers do, no other step can change the state ever again: M22's "quiescent but not done"
 *     livelocked      steps go on, but none of them can ever be progress again: a server that answers "later" for ever
 *     cannot finish   no schedule whatever leads to a state that is done
 *
 * The last is more than quiescence shows: it finds those who were left behind while others go on. Where no state cannot finish, done is
 * reached with probability 1 by any scheduler that neglects nothing for ever. All three are reachability backward, from where there is
 * a way out. States that break an invariant are reported as such and have no successors; they are not counted again as stuck.
 */
import { KernelError, type StallReport } from '@tidemark/core';
import type { Interchangeable, SearchModel, State } from './model.js';
import { explainState } from './standstill.js';
import { StateGraph } from './state-graph.js';
import { StateSet } from './state-set.js';

const STATES_MAX = 8_000_000;
/** States without a way out that are explained, nearest first; those with equal reports are told once. */
const EXPLAINED_MAX = 2000;

/** How far `search` goes. */
export interface SearchOptions {
  /** More states end the search with an error: half a search proves nothing. Default 8 million. */
  readonly statesMax?: number;
}

/** A state and how to get there. */
export interface FoundState {
  /** Names of the steps of a shortest path; `replay` goes it again. */
  readonly path: readonly string[];
  readonly state: Readonly<Record<string, number>>;
}

/** States without a way out that have one reason. */
export interface Standstill extends FoundState {
  readonly report: StallReport;
  /** States with this reason, among those that were looked at. */
  readonly nrStates: number;
}

/** States of one verdict. */
export interface Standstills {
  readonly nrStates: number;
  /** One for each different reason, by the length of its path. */
  readonly reasons: readonly Standstill[];
}

/** An invariant of a model that does not hold, and the way there. */
export interface BrokenInvariant extends FoundState {
  readonly invariant: string;
  readonly nrStates: number;
}

/** What `search` has found: states, and for each verdict the shortest way there. */
export interface SearchResult {
  readonly model: SearchModel;
  readonly nrStates: number;
  /** Steps between them, those that change nothing not counted. */
  readonly nrTransitions: number;
  /** Steps of the longest of all shortest paths. */
  readonly depth: number;
  readonly nrDone: number;
  readonly stuck: Standstills;
  readonly livelocked: Standstills;
  readonly cannotFinish: Standstills;
  readonly broken: readonly BrokenInvariant[];
}

/**
 * Visits every state of a model.
 * @throws KernelError ERANGE, naming the step and the cell, if a step leaves a cell out of its range; EOVERFLOW for more states than allowed.
 */
export function search(model: SearchModel, options: SearchOptions = {}): SearchResult {
  return new Search(model, options.statesMax ?? STATES_MAX).run();
}

/**
 * Goes a path of a model again.
 * @returns each state on it, the first one included.
 * @throws KernelError EINVAL if the path names no step, or one that is not possible there.
 */
export function replay(model: SearchModel, path: readonly string[]): State[] {
  const set = new StateSet(model.cells.length);
  set.next.set(model.initialState());
  const states = [normalize(model, set.next).slice()];
  for (const name of path) {
    const step = model.steps.find((candidate) => candidate.name === name);
    if (step === undefined || !step.when(set.next))
      throw new KernelError('EINVAL', `model ${model.name}: step ${states.length} of the path, ${name}, is not possible`);
    step.change(set.next);
    states.push(normalize(model, set.next).slice());
  }
  return states;
}

class Search {
  readonly #set: StateSet;
  readonly #graph = new StateGraph();
  /** States that are done or broken. */
  readonly #ends: number[] = [];
  readonly #brokenStates = new Set<number>();
  #nrDone = 0;
  readonly #broken = new Map<string, { first: number; nrStates: number }>();
  #depth = 0;

  constructor(
    readonly model: SearchModel,
    readonly statesMax: number,
  ) {
    this.#set = new StateSet(model.cells.length);
  }

  run(): SearchResult {
    this.#visitAll();
    const { steps } = this.model;
    const all = new Uint8Array(steps.length).fill(1);
    const timers = Uint8Array.from(steps, ({ kind }) => (kind === 'timer' ? 1 : 0));
    const others = Uint8Array.from(steps, ({ kind }) => (kind === 'timer' ? 0 : 1));
    const progress = Uint8Array.from(steps, ({ kind }) => (kind === 'progress' ? 1 : 0));
    const none = new Uint8Array(steps.length);
    const cannotFinish = this.#withoutWayOut(none, all);
    const isEmpty = cannotFinish.nrStates === 0; // and then its parts are too
    return {
      model: this.model,
      nrStates: this.#set.size,
      nrTransitions: this.#graph.nrEdges,
      depth: this.#depth,
      nrDone: this.#nrDone,
      stuck: isEmpty ? cannotFinish : this.#withoutWayOut(others, timers),
      livelocked: isEmpty ? cannotFinish : this.#withoutWayOut(progress, all),
      cannotFinish,
      broken: [...this.#broken].map(([invariant, { first, nrStates }]) => ({ invariant, nrStates, ...this.#find(first) })),
    };
  }

  #visitAll(): void {
    const { model } = this;
    const set = this.#set;
    const graph = this.#graph;
    const { steps } = model;
    set.next.set(model.initialState());
    this.#enter(-1, -1);
    let endOfLevel = 1;
    for (let from = 0; from < set.size; from++) {
      if (from === endOfLevel) {
        this.#depth++;
        endOfLevel = set.size;
      }
      graph.beginState();
      if (this.#brokenStates.has(from)) continue;
      let isLoaded = false;
      for (let step = 0; step < steps.length; step++) {
        if (!isLoaded) set.load(from);
        isLoaded = !steps[step].when(set.next);
        if (isLoaded) continue;
        steps[step].change(set.next);
        const to = this.#enter(from, step);
        if (to !== from) graph.addEdge(to, step);
      }
    }
  }

  /** Takes up the state in `next`. @returns its number. */
  #enter(from: number, step: number): number {
    const { model } = this;
    const set = this.#set;
    normalize(model, set.next);
    const known = set.size;
    const id = set.add();
    if (id < known) return id;
    if (id === this.statesMax) throw new KernelError('EOVERFLOW', `model ${model.name} has more than ${this.statesMax} states`);
    checkCells(model, set.next, step < 0 ? 'the beginning' : model.steps[step].name);
    this.#graph.addState(from, step);
    const isDone = model.isDone(set.next);
    if (isDone) this.#nrDone++;
    if (this.#breaksInvariant(id) || isDone) this.#ends.push(id);
    return id;
  }

  #breaksInvariant(id: number): boolean {
    for (const { name, holds } of this.model.invariants) {
      if (holds(this.#set.next)) continue;
      this.#brokenStates.add(id);
      const broken = this.#broken.get(name);
      if (broken === undefined) this.#broken.set(name, { first: id, nrStates: 1 });
      else broken.nrStates++;
    }
    return this.#brokenStates.has(id);
  }

  /**
   * The states from which no edge of the steps `along` leads to one that is done, is broken, or that a step of `leaving` leaves. Told
   * nearest first.
   */
  #withoutWayOut(leaving: Uint8Array, along: Uint8Array): Standstills {
    const marks = new Uint8Array(this.#set.size);
    for (const id of this.#ends) marks[id] = 1;
    this.#graph.markSources(marks, leaving);
    this.#graph.closeBackward(marks, along);
    const reasons = new Map<string, { -readonly [Key in keyof Standstill]: Standstill[Key] }>();
    let nrStates = 0;
    for (let id = 0; id < marks.length; id++) {
      if (marks[id] !== 0 || nrStates++ >= EXPLAINED_MAX) continue;
      this.#set.load(id);
      const report = explainState(this.model, this.#set.next);
      const key = JSON.stringify([report.cycles.map(({ nodes }) => nodes), report.cycles.length === 0 ? report.ends : []]);
      const known = reasons.get(key);
      if (known === undefined) reasons.set(key, { ...this.#find(id), report, nrStates: 1 });
      else known.nrStates++;
    }
    return { nrStates, reasons: [...reasons.values()] };
  }

  #find(id: number): FoundState {
    this.#set.load(id);
    return { path: this.#graph.pathTo(id).map((step) => this.model.steps[step].name), state: this.model.describeState(this.#set.next) };
  }
}

function checkCells(model: SearchModel, state: State, what: string): void {
  const { cells } = model;
  for (let i = 0; i < cells.length; i++) {
    if (state[i] > cells[i].max) {
      throw new KernelError('ERANGE', `model ${model.name}: ${what} leaves ${state[i]} in ${cells[i].name}, which ends at ${cells[i].max}`);
    }
  }
}

/** Puts interchangeable records in order: one state for all their permutations. */
function normalize(model: SearchModel, state: State): State {
  for (const group of model.interchangeable) sortRecords(state, group);
  return state;
}

function sortRecords(state: State, { first, size, nrRecords }: Interchangeable): void {
  for (let n = 1; n < nrRecords; n++) {
    for (let at = first + n * size; at > first && isBefore(state, at, at - size, size); at -= size) {
      for (let i = 0; i < size; i++) {
        const cell = state[at + i];
        state[at + i] = state[at - size + i];
        state[at - size + i] = cell;
      }
    }
  }
}

function isBefore(state: State, a: number, b: number, size: number): boolean {
  for (let i = 0; i < size; i++) if (state[a + i] !== state[b + i]) return state[a + i] < state[b + i];
  return false;
}
