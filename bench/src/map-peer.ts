/** The peer of look-ups: a `Map` from number to number, read in random order. */
import { shuffled, timePer } from './harness.js';

const LEAST_STEPS = 500_000;

/** Measures one `Map.get`, in nanoseconds, of a map with `nrKeys` keys that were set in random order. */
export function mapCost(nrKeys: number): () => number {
  const map = new Map<number, number>();
  for (const key of shuffled(nrKeys, 2)) map.set(key, key + 1);
  const order = shuffled(nrKeys, 3);
  const rounds = Math.ceil(LEAST_STEPS / nrKeys);
  return () => timePer(rounds * nrKeys, () => getAll(map, order, rounds));
}

function getAll(map: Map<number, number>, order: Uint32Array, rounds: number): number {
  let sum = 0;
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < order.length; i++) sum += map.get(order[i]) as number;
  }
  return sum;
}
