/**
 * One party of a model that goes from stage to stage: a task, or a page on its way through the nodes. Its stage is a cell; each of its steps
 * leads from one stage to another.
 */
import type { SearchModel, State, StepKind } from '@tidemark/testkit';
import { type MemoryNode, type ModelMemory, Source } from './model-memory.js';

export interface StageStep {
  /** What must hold beside the stage. */
  readonly when?: (s: State) => boolean;
  /** What changes beside the stage, which is the new one already. */
  readonly change?: (s: State) => void;
  /** Default: `step`. */
  readonly kind?: StepKind;
}

export class Stages {
  constructor(
    readonly model: SearchModel,
    readonly memory: ModelMemory,
    readonly name: string,
    /** The cell. */
    readonly stage: number,
  ) {}

  step(what: string, from: number, to: number, { when, change, kind = 'step' }: StageStep = {}): void {
    const { stage } = this;
    this.model[kind](`${this.name}: ${what}`, when === undefined ? (s) => s[stage] === from : (s) => s[stage] === from && when(s), (s) => {
      s[stage] = to;
      change?.(s);
    });
  }

  /** Begins a unit of `node` (M8). */
  begins(what: string, from: number, to: number, node: MemoryNode, { when, change }: StageStep = {}): void {
    this.step(what, from, to, {
      when: (s) => (when === undefined || when(s)) && this.memory.mayBegin(s, node),
      change: (s) => {
        s[node.out]++;
        change?.(s);
      },
    });
  }

  /**
   * Takes a frame for a unit of `node`.
   * @param held the cells of the frames of this node that the unit may hold, `into` among them.
   */
  takes(what: string, from: number, to: number, node: MemoryNode, held: readonly number[], into: number): void {
    this.step(what, from, to, {
      when: (s) => this.memory.sourceFor(s, node, held) !== Source.NONE,
      change: (s) => this.memory.take(s, node, held, into),
    });
  }

  /** Takes a frame as anybody, with no right to more than free memory above the ordinary floor. */
  takesOrdinary(what: string, from: number, to: number, options: StageStep = {}): void {
    const { when, change } = options;
    this.step(what, from, to, {
      when: (s) => (when === undefined || when(s)) && this.memory.mayTakeOrdinary(s),
      change: (s) => {
        s[this.memory.free]--;
        change?.(s);
      },
    });
  }
}
