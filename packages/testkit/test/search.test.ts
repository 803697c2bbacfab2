/** The exhaustive search, against definitions applied by brute force to random small systems. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BOUNDS_MAX, replay, search, SearchModel, type SearchResult, type StepKind } from '@tidemark/testkit';

const SMALL = { pages: 0, tasks: 2, layers: 1, needFrames: 1 };

/** A random system: cells of a few values; each step a table from every state to another, or to none. */
interface System {
  readonly maxima: readonly number[];
  readonly steps: readonly { readonly kind: StepKind; readonly to: readonly (number | null)[] }[];
  readonly done: readonly boolean[];
  readonly broken: readonly boolean[];
}

const anySystem: fc.Arbitrary<System> = fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 5 }).chain((maxima) => {
  const size = maxima.reduce((product, max) => product * (max + 1), 1);
  const rare = fc.integer({ min: 0, max: 9 }).map((n) => n === 0);
  const target = fc.oneof({ weight: 3, arbitrary: fc.constant(null) }, { weight: 2, arbitrary: fc.nat({ max: size - 1 }) });
  const table = fc.array(target, { minLength: size, maxLength: size });
  const kind = fc.constantFrom<StepKind>('step', 'progress', 'timer');
  const marks = fc.array(rare, { minLength: size, maxLength: size });
  return fc.record({
    maxima: fc.constant(maxima),
    steps: fc.array(fc.record({ kind, to: table }), { minLength: 1, maxLength: 4 }),
    done: marks,
    broken: marks,
  });
});

function encode(maxima: readonly number[], state: ArrayLike<number>): number {
  return maxima.reduce((code, max, i) => code * (max + 1) + state[i], 0);
}

function decode(maxima: readonly number[], code: number, into: Uint8Array): void {
  let rest = code;
  for (let i = maxima.length - 1; i >= 0; i--) {
    into[i] = rest % (maxima[i] + 1);
    rest = Math.floor(rest / (maxima[i] + 1));
  }
}

function modelOf({ maxima, steps, done, broken }: System): SearchModel {
  const model = new SearchModel('random', SMALL);
  for (const [i, max] of maxima.entries()) model.cell(`cell${i}`, max);
  for (const [i, { kind, to }] of steps.entries()) {
    model[kind](
      `${kind}${i}`,
      (s) => to[encode(maxima, s)] !== null,
      (s) => decode(maxima, to[encode(maxima, s)] as number, s),
    );
  }
  model.doneWhen((s) => done[encode(maxima, s)]);
  model.invariant('not broken', (s) => !broken[encode(maxima, s)]);
  model.waitsAre((s, sink) => sink.waits('somebody', `state: ${encode(maxima, s)}`)); // every state has a reason of its own
  return model;
}

/** The definitions, state by state. */
function bruteForce({ steps, done, broken }: System) {
  const edgesOf = (from: number) =>
    broken[from] ? [] : steps.flatMap(({ kind, to }) => (to[from] === null || to[from] === from ? [] : [{ kind, to: to[from] as number }]));
  const reach = (from: number, follows: (kind: StepKind) => boolean): Map<number, number> => {
    const distances = new Map([[from, 0]]);
    for (const [at, distance] of distances) {
      for (const { kind, to } of edgesOf(at)) if (follows(kind) && !distances.has(to)) distances.set(to, distance + 1);
    }
    return distances;
  };
  const distances = reach(0, () => true);
  const reached = [...distances.keys()];
  const isOut = (at: number) => done[at] || broken[at];
  const all = (state: number) => [...reach(state, () => true).keys()];
  return {
    distances,
    nrTransitions: reached.reduce((sum, at) => sum + edgesOf(at).length, 0),
    nrDone: reached.filter((at) => done[at]).length,
    nrBroken: reached.filter((at) => broken[at]).length,
    stuck: reached.filter((from) =>
      [...reach(from, (kind) => kind === 'timer').keys()].every((at) => !isOut(at) && edgesOf(at).every(({ kind }) => kind === 'timer')),
    ),
    livelocked: reached.filter((from) => all(from).every((at) => !isOut(at) && edgesOf(at).every(({ kind }) => kind !== 'progress'))),
    cannotFinish: reached.filter((from) => all(from).every((at) => !isOut(at))),
  };
}

const codes = (maxima: readonly number[], found: SearchResult['stuck']) =>
  found.reasons.map(({ state }) => encode(maxima, Object.values(state))).sort((a, b) => a - b);
const sorted = (numbers: readonly number[]) => [...numbers].sort((a, b) => a - b);

describe('the search', () => {
  it('finds the states, transitions and verdicts that the definitions give, each by a shortest path', () => {
    let nrStuck = 0;
    let nrLivelocked = 0;
    fc.assert(
      fc.property(anySystem, (system) => {
        const model = modelOf(system);
        const found = search(model);
        const expected = bruteForce(system);
        expect(found.nrStates).toBe(expected.distances.size);
        expect(found.nrTransitions).toBe(expected.nrTransitions);
        expect(found.depth).toBe(Math.max(...expected.distances.values()));
        expect(found.nrDone).toBe(expected.nrDone);
        expect(found.broken.reduce((sum, { nrStates }) => sum + nrStates, 0)).toBe(expected.nrBroken);
        for (const verdict of ['stuck', 'livelocked', 'cannotFinish'] as const) {
          expect(codes(system.maxima, found[verdict])).toEqual(sorted(expected[verdict]));
          expect(found[verdict].nrStates).toBe(expected[verdict].length);
        }
        for (const { path, state } of [...found.cannotFinish.reasons, ...found.broken]) {
          expect(path.length).toBe(expected.distances.get(encode(system.maxima, Object.values(state))));
          expect(model.describeState(replay(model, path).at(-1) as Uint8Array)).toEqual(state);
        }
        nrStuck += found.stuck.nrStates;
        nrLivelocked += found.livelocked.nrStates - found.stuck.nrStates;
      }),
      { numRuns: 1000 },
    );
    expect(nrStuck).toBeGreaterThan(100); // the property has something to say about each verdict
    expect(nrLivelocked).toBeGreaterThan(100);
  });

  it('takes states that differ in the order of interchangeable records for one, and nothing else', () => {
    const anyRule = fc.record({ from: fc.nat({ max: 3 }), to: fc.nat({ max: 3 }), takes: fc.integer({ min: -1, max: 1 }) });
    fc.assert(
      fc.property(fc.array(anyRule, { minLength: 1, maxLength: 6 }), fc.integer({ min: 2, max: 4 }), (rules, nrRecords) => {
        const build = (interchangeable: boolean): SearchModel => {
          const model = new SearchModel('records', SMALL);
          const pool = model.cell('pool', 3, 2);
          const starts = model.records('unit', nrRecords, { stage: 3, other: 3 }, { interchangeable });
          for (const [i, { from, to, takes }] of rules.entries()) {
            for (const [n, stage] of starts.entries()) {
              model.step(
                `rule ${i} of ${n}`,
                (s) => s[stage] === from && s[pool] >= takes && s[pool] - takes <= 3,
                (s) => {
                  s[stage + 1] = s[stage];
                  s[stage] = to;
                  s[pool] -= takes;
                },
              );
            }
          }
          model.doneWhen((s) => starts.every((stage) => s[stage] === 3));
          return model;
        };
        const whole = search(build(false));
        const reduced = search(build(true));
        expect(reduced.nrStates).toBe(distinctUpToOrder(whole.model, nrRecords));
        for (const verdict of ['stuck', 'cannotFinish'] as const) {
          expect(reduced[verdict].nrStates > 0).toBe(whole[verdict].nrStates > 0);
        }
        expect(reduced.nrDone > 0).toBe(whole.nrDone > 0);
      }),
    );
  });

  it('counts every state of a large product exactly once', () => {
    const model = new SearchModel('counters', { ...BOUNDS_MAX });
    const counters = Array.from({ length: 5 }, (_, i) => model.cell(`counter${i}`, 9));
    for (const [i, counter] of counters.entries()) {
      model.step(
        `raise ${i}`,
        (s) => s[counter] < 9,
        (s) => s[counter]++,
      );
    }
    model.doneWhen((s) => counters.every((counter) => s[counter] === 9));
    const found = search(model);
    expect(found).toMatchObject({ nrStates: 1e5, nrTransitions: 5 * 9 * 1e4, depth: 45, nrDone: 1 });
    expect(found.cannotFinish.nrStates).toBe(0);
  });

  it('tells a state that only timers leave from one that retries for ever, and both from one that leaves somebody behind', () => {
    const model = new SearchModel('three ends', SMALL);
    const at = model.cell('at', 6);
    const go = (kind: StepKind, from: number, to: number) =>
      model[kind](
        `${kind} ${from} → ${to}`,
        (s) => s[at] === from,
        (s) => {
          s[at] = to;
        },
      );
    go('step', 0, 1); // the end where a timer goes to and fro
    go('timer', 1, 2);
    go('timer', 2, 1);
    go('step', 0, 3); // the end where a reply says "later", for ever
    go('step', 3, 4);
    go('timer', 4, 3);
    go('step', 0, 5); // the end where others get on and on
    go('progress', 5, 6);
    go('step', 6, 5);
    model.waitsAre((s, sink) => sink.waits('waiter', `place: ${s[at]}`));
    const { stuck, livelocked, cannotFinish } = search(model);
    const places = (found: typeof stuck) => found.reasons.map(({ state }) => state.at).sort();
    expect(places(stuck)).toEqual([1, 2]);
    expect(places(livelocked)).toEqual([1, 2, 3, 4]);
    expect(places(cannotFinish)).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });

  it('explains a deadlock of two locks as its cycle, by the shortest way to it', () => {
    const model = new SearchModel('two locks', { pages: 0, tasks: 2, layers: 1, needFrames: 0 });
    const holder = [model.cell('a', 2), model.cell('b', 2)];
    const order = [holder, [holder[1], holder[0]]];
    const stage = [model.cell('stage0', 3), model.cell('stage1', 3)];
    const names = ['lock: a', 'lock: b'];
    for (const task of [0, 1]) {
      for (const nth of [0, 1]) {
        model.step(
          `task${task} takes its lock ${nth}`,
          (s) => s[stage[task]] === nth && s[order[task][nth]] === 0,
          (s) => {
            s[order[task][nth]] = task + 1;
            s[stage[task]]++;
          },
        );
      }
      model.progress(
        `task${task} lets both go`,
        (s) => s[stage[task]] === 2,
        (s) => {
          s[holder[0]] = s[holder[1]] = 0;
          s[stage[task]]++;
        },
      );
    }
    model.doneWhen((s) => stage.every((cell) => s[cell] === 3));
    model.waitsAre((s, sink) => {
      for (const lock of [0, 1]) if (s[holder[lock]] > 0) sink.heldBy(names[lock], `task: task${s[holder[lock]] - 1}`);
      for (const task of [0, 1]) if (s[stage[task]] < 2) sink.waits(`task${task}`, names[holder.indexOf(order[task][s[stage[task]]])]);
    });
    const { stuck, cannotFinish } = search(model);
    expect(stuck.nrStates).toBe(1);
    expect(cannotFinish.nrStates).toBe(1);
    expect(stuck.reasons[0].path).toHaveLength(2);
    expect(stuck.reasons[0].report.cycles.map(({ nodes }) => nodes)).toEqual([['lock: a', 'task: task0', 'lock: b', 'task: task1']]);
  });

  it('refuses models that are wrong', () => {
    expect(() => new SearchModel('large', { ...BOUNDS_MAX, pages: 17 })).toThrow(/17 pages/);
    expect(() => new SearchModel('odd', { ...BOUNDS_MAX, tasks: -1 })).toThrow(/tasks/);
    const model = new SearchModel('wrong', SMALL);
    expect(() => model.cell('cell', 256)).toThrow(/cell from 0 to 256/);
    expect(() => model.cell('cell', 3, 4)).toThrow(/from 4 to 3/);
    const cell = model.cell('cell', 2);
    model.step(
      'lower',
      () => true,
      (s) => s[cell]--,
    );
    expect(() =>
      model.timer(
        'lower',
        () => true,
        () => {},
      ),
    ).toThrow(/two steps named lower/);
    expect(() => search(model)).toThrow(/lower leaves 255 in cell, which ends at 2/);
    expect(() => replay(model, ['raise'])).toThrow(/raise, is not possible/);
    const large = new SearchModel('too many', SMALL);
    const count = large.cell('count', 200);
    large.step(
      'raise',
      (s) => s[count] < 200,
      (s) => s[count]++,
    );
    expect(() => search(large, { statesMax: 100 })).toThrow(/more than 100 states/);
  });
});

function distinctUpToOrder(model: SearchModel, nrRecords: number): number {
  const seen = new Set<string>();
  const orbits = new Set<string>();
  const visit = (state: Uint8Array): void => {
    if (seen.has(state.join())) return;
    seen.add(state.join());
    const records = Array.from({ length: nrRecords }, (_, n) => [...state.slice(1 + 2 * n, 3 + 2 * n)].join('/'));
    orbits.add([state[0], ...records.sort()].join());
    for (const { when, change } of model.steps) {
      if (!when(state)) continue;
      const next = state.slice();
      change(next);
      visit(next);
    }
  };
  visit(model.initialState());
  return orbits.size;
}
