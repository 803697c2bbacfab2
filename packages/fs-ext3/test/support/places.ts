/** Where to crash: every place of a log once, in an order that has seen all parts of it early; then again. */
export function* placesIn(nrEntries: number): Generator<number> {
  let step = Math.max(1, Math.round(nrEntries * 0.618));
  while (gcd(step, nrEntries) !== 1) step++;
  for (let at = 0; ; at = (at + step) % nrEntries) yield 1 + at;
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
