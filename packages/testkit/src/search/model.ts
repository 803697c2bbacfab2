/**
 * A model: nodes written as an explicit state machine with declared state, for the exhaustive search (`search.ts`).
 *
 * A state is a vector of cells, each a number from 0 to its declared maximum. What can happen is a list of guarded steps: `when` says in
 * which states, `change` changes the vector. Nothing else is remembered between steps, which is what makes a state something that can be
 * compared, kept and come back to; an async function is nothing of the kind.
 *
 *     const model = new SearchModel('one lock', { pages: 0, tasks: 2, layers: 1, needFrames: 0 });
 *     const free = model.cell('free', 1, 1);
 *     const done = model.cell('done', 2);
 *     model.step('take', (s) => s[free] > 0, (s) => s[free]--);
 *     model.progress('give', (s) => s[free] === 0, (s) => { s[free]++; s[done]++; });
 *     model.doneWhen((s) => s[done] === 2);
 *
 * Steps are marked, because the verdicts of M22 tell them apart:
 *
 *     step        a task goes on, or something under way comes to its end (I/O, a reply): it will happen if it stays possible
 *     progress    the same, and a unit, a page version or a task completes for the first time
 *     timer       a periodic timer, a retry, the traffic of others: it may go on for ever, and is no sign of life
 */
import { KernelError } from '@tidemark/core';

/** The cells of a state. Kept by the search, never by a model. */
export type State = Uint8Array;

/** What a step counts as: progress, a step that may be repeated for ever, or a timer, which is none. */
export type StepKind = 'step' | 'progress' | 'timer';

/** Something that can happen. */
export interface ModelStep {
  readonly name: string;
  readonly kind: StepKind;
  when(state: State): boolean;
  change(state: State): void;
}

/** Something that holds in every state that can be reached. */
export interface Invariant {
  readonly name: string;
  holds(state: State): boolean;
}

/** Who waits for what in a state. Names are `kind: name`, as in core's stall reports; a task is named `task: name`. */
export interface WaitSink {
  /** `task` (without its kind) waits for `target`. */
  waits(task: string, target: string): void;
  /** For the wait for `target` to end, `actor` must act. */
  heldBy(target: string, actor: string): void;
}

/** How large a model is; printed with the result, since a proof by search is one for this size. */
export interface Bounds {
  /** Page frames. */
  readonly pages: number;
  readonly tasks: number;
  /** Nodes of the writeout graph, one above the other. */
  readonly layers: number;
  /** Most frames that one unit of a node holds. */
  readonly needFrames: number;
}

/** The largest models the search is meant for (test method, 2): beyond, "exhaustive" is a hope. */
export const BOUNDS_MAX: Bounds = { pages: 16, tasks: 4, layers: 3, needFrames: 2 };
const CELL_MAX = 255;
const STEPS_MAX = 65_535;

/** Cells `first … first + nrRecords × size − 1`: records whose order means nothing. */
export interface Interchangeable {
  readonly first: number;
  readonly size: number;
  readonly nrRecords: number;
}

/** A system as a vector of bytes, and the guarded steps that change it: what `search` goes through. */
export class SearchModel {
  readonly cells: { readonly name: string; readonly max: number; readonly initial: number }[] = [];
  readonly steps: ModelStep[] = [];
  readonly invariants: Invariant[] = [];
  readonly interchangeable: Interchangeable[] = [];
  readonly #names = new Set<string>();
  isDone: (state: State) => boolean = () => false;
  /** Tells who waits for what; asked for states without a way out only. */
  tellWaits: (state: State, sink: WaitSink) => void = () => {};

  /** @throws KernelError EINVAL for bounds that are no counts or lie beyond `BOUNDS_MAX`. */
  constructor(
    readonly name: string,
    readonly bounds: Bounds,
  ) {
    for (const key of Object.keys(BOUNDS_MAX) as (keyof Bounds)[]) {
      const bound = bounds[key];
      if (!Number.isSafeInteger(bound) || bound < 0 || bound > BOUNDS_MAX[key]) {
        throw new KernelError('EINVAL', `model ${name}: ${bound} ${key}, want a count up to ${BOUNDS_MAX[key]}`);
      }
    }
  }

  /**
   * Declares a cell. A step that leaves it above `max` (or below 0) ends the search with an error: the model is wrong.
   * @returns its index. @throws KernelError EINVAL unless 0 ≤ initial ≤ max ≤ 255.
   */
  cell(name: string, max: number, initial = 0): number {
    if (!Number.isSafeInteger(max) || !Number.isSafeInteger(initial) || initial < 0 || initial > max || max > CELL_MAX) {
      throw new KernelError(
        'EINVAL',
        `model ${this.name}: cell ${name} from ${initial} to ${max}, want 0 ≤ initial ≤ maximum ≤ ${CELL_MAX}`,
      );
    }
    return this.cells.push({ name, max, initial }) - 1;
  }

  /**
   * Declares `nrRecords` equal groups of cells. If they are `interchangeable`, states that differ only in their order are one state. That
   * is sound if the model treats all of them alike: every step exists for every record, and no predicate tells one from another.
   * @param fields names and maxima of the cells of one record; each starts at 0.
   * @returns the index of each record's first cell.
   */
  records(name: string, nrRecords: number, fields: Readonly<Record<string, number>>, options: { interchangeable: boolean }): number[] {
    const names = Object.keys(fields);
    const starts = Array.from({ length: nrRecords }, (_, i) => {
      for (const field of names) this.cell(`${name}${i}.${field}`, fields[field]);
      return this.cells.length - names.length;
    });
    if (options.interchangeable && nrRecords > 1) this.interchangeable.push({ first: starts[0], size: names.length, nrRecords });
    return starts;
  }

  /** Declares a step of kind `step`. */
  step(name: string, when: (state: State) => boolean, change: (state: State) => void): void {
    this.#add({ name, kind: 'step', when, change });
  }

  /** Declares a step of kind `progress`. */
  progress(name: string, when: (state: State) => boolean, change: (state: State) => void): void {
    this.#add({ name, kind: 'progress', when, change });
  }

  /** Declares a step of kind `timer`. */
  timer(name: string, when: (state: State) => boolean, change: (state: State) => void): void {
    this.#add({ name, kind: 'timer', when, change });
  }

  /** Declares what holds in every state. A state that breaks it is reported and not gone on from. */
  invariant(name: string, holds: (state: State) => boolean): void {
    this.invariants.push({ name, holds });
  }

  /** Says when everything that was to be done is done. Further steps may be possible then. */
  doneWhen(isDone: (state: State) => boolean): void {
    this.isDone = isDone;
  }

  /** Says how the waits of a state are told. */
  waitsAre(tellWaits: (state: State, sink: WaitSink) => void): void {
    this.tellWaits = tellWaits;
  }

  /** The state everything starts in. */
  initialState(): State {
    return Uint8Array.from(this.cells, ({ initial }) => initial);
  }

  /** A state by the names of its cells. */
  describeState(state: State): Record<string, number> {
    return Object.fromEntries(this.cells.map(({ name }, i) => [name, state[i]]));
  }

  #add(step: ModelStep): void {
    if (this.#names.has(step.name)) throw new KernelError('EINVAL', `model ${this.name}: two steps named ${step.name}`);
    this.#names.add(step.name);
    if (this.steps.length === STEPS_MAX) throw new KernelError('EINVAL', `model ${this.name}: more than ${STEPS_MAX} steps`);
    this.steps.push(step);
  }
}
