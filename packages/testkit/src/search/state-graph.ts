/**
 * The graph of states by number: the edges out of each state, in the order the search found them, and how each was reached first.
 *
 * Three questions of the search are one question of this graph: which states can get to some others, along edges of some kinds.
 */

/** Numbers that grow at the end. */
class GrowingInts {
  values = new Int32Array(1 << 12);
  length = 0;

  push(value: number): void {
    if (this.length === this.values.length) {
      const values = new Int32Array(this.length * 2);
      values.set(this.values);
      this.values = values;
    }
    this.values[this.length++] = value;
  }
}

export class StateGraph {
  /** Edges of state s: from `#first[s]` to below `#first[s + 1]`. States are expanded in the order of their numbers. */
  readonly #first = new GrowingInts();
  readonly #to = new GrowingInts();
  readonly #step = new GrowingInts();
  /** State and step by which a state was reached first; −1 for an initial one. */
  readonly #parent = new GrowingInts();
  readonly #parentStep = new GrowingInts();

  get nrEdges(): number {
    return this.#to.length;
  }

  /** Tells of a new state; in the order of their numbers. */
  addState(parent: number, step: number): void {
    this.#parent.push(parent);
    this.#parentStep.push(step);
  }

  /** The edges that are added from now on leave the next state. */
  beginState(): void {
    this.#first.push(this.#to.length);
  }

  addEdge(to: number, step: number): void {
    this.#to.push(to);
    this.#step.push(step);
  }

  /** Calls for each edge out of a state. */
  forEachEdge(from: number, visit: (to: number, step: number) => void): void {
    for (let edge = this.#first.values[from]; edge < this.#endOf(from); edge++) visit(this.#to.values[edge], this.#step.values[edge]);
  }

  /** The steps of a shortest way to a state from an initial one. */
  pathTo(state: number): number[] {
    const steps: number[] = [];
    for (let at = state; this.#parent.values[at] >= 0; at = this.#parent.values[at]) steps.push(this.#parentStep.values[at]);
    return steps.reverse();
  }

  /**
   * Goes backward from `seeds` along edges whose step `follows`.
   * @param seeds 1 for each state to begin with; changed into the answer: 1 for each state that can get to one of them.
   */
  closeBackward(seeds: Uint8Array, follows: (step: number) => boolean): Uint8Array {
    const { firstInto, from } = this.#reverse(follows);
    const queue = new Int32Array(seeds.length);
    let tail = 0;
    for (let state = 0; state < seeds.length; state++) if (seeds[state] !== 0) queue[tail++] = state;
    for (let head = 0; head < tail; head++) {
      const at = queue[head];
      for (let i = firstInto[at]; i < firstInto[at + 1]; i++) {
        if (seeds[from[i]] !== 0) continue;
        seeds[from[i]] = 1;
        queue[tail++] = from[i];
      }
    }
    return seeds;
  }

  /** The edges turned around, those that `follows` keeps. */
  #reverse(follows: (step: number) => boolean): { firstInto: Int32Array; from: Int32Array } {
    const nrStates = this.#parent.length;
    const firstInto = new Int32Array(nrStates + 2);
    const steps = this.#step.values;
    const targets = this.#to.values;
    for (let edge = 0; edge < this.nrEdges; edge++) if (follows(steps[edge])) firstInto[targets[edge] + 2]++;
    for (let i = 2; i < firstInto.length; i++) firstInto[i] += firstInto[i - 1];
    const from = new Int32Array(firstInto[nrStates + 1]);
    for (let state = 0; state < nrStates; state++) {
      for (let edge = this.#first.values[state]; edge < this.#endOf(state); edge++) {
        if (follows(steps[edge])) from[firstInto[targets[edge] + 1]++] = state;
      }
    }
    return { firstInto, from };
  }

  #endOf(state: number): number {
    return state + 1 < this.#first.length ? this.#first.values[state + 1] : this.#to.length;
  }
}
