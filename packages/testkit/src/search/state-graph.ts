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

  /** Sets a mark for each state that an edge of such a step leaves. @param steps 1 for each step that counts. */
  markSources(marks: Uint8Array, steps: Uint8Array): void {
    const via = this.#step.values;
    for (let state = 0; state < marks.length; state++) {
      if (marks[state] !== 0) continue;
      const end = this.#endOf(state);
      for (let edge = this.#first.values[state]; edge < end; edge++) {
        if (steps[via[edge]] === 0) continue;
        marks[state] = 1;
        break;
      }
    }
  }

  /** The steps of a shortest way to a state from an initial one. */
  pathTo(state: number): number[] {
    const steps: number[] = [];
    for (let at = state; this.#parent.values[at] >= 0; at = this.#parent.values[at]) steps.push(this.#parentStep.values[at]);
    return steps.reverse();
  }

  /**
   * Marks, beside the states that are marked, each one that can get to one of them.
   * @param steps 1 for each step along whose edges that counts.
   */
  closeBackward(marks: Uint8Array, steps: Uint8Array): void {
    const { firstInto, from } = this.#reverse(steps);
    const queue = new Int32Array(marks.length);
    let tail = 0;
    for (let state = 0; state < marks.length; state++) if (marks[state] !== 0) queue[tail++] = state;
    for (let head = 0; head < tail; head++) {
      const at = queue[head];
      for (let i = firstInto[at]; i < firstInto[at + 1]; i++) {
        const source = from[i];
        if (marks[source] !== 0) continue;
        marks[source] = 1;
        queue[tail++] = source;
      }
    }
  }

  /** The edges of such steps, turned around: those into state s come from `from[firstInto[s]]` to below `from[firstInto[s + 1]]`. */
  #reverse(steps: Uint8Array): { firstInto: Int32Array; from: Int32Array } {
    const nrStates = this.#parent.length;
    const nrEdges = this.nrEdges;
    const via = this.#step.values;
    const targets = this.#to.values;
    const firstInto = new Int32Array(nrStates + 2);
    for (let edge = 0; edge < nrEdges; edge++) firstInto[targets[edge] + 2] += steps[via[edge]];
    for (let i = 2; i < firstInto.length; i++) firstInto[i] += firstInto[i - 1];
    const from = new Int32Array(firstInto[nrStates + 1]);
    for (let state = 0; state < nrStates; state++) {
      const end = this.#endOf(state);
      for (let edge = this.#first.values[state]; edge < end; edge++) {
        if (steps[via[edge]] !== 0) from[firstInto[targets[edge] + 1]++] = state;
      }
    }
    return { firstInto, from };
  }

  #endOf(state: number): number {
    return state + 1 < this.#first.length ? this.#first.values[state + 1] : this.#to.length;
  }
}
