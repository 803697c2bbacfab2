/**
 * Explores composed: many seeds of every topology, each of which must end as the design says. Runs on the built code (`npm run build`).
 *
 *     node packages/lab/scripts/explore.mjs                         100,000 seeds a topology
 *     node packages/lab/scripts/explore.mjs --seeds 1000 T6 T7      so many, of these
 *
 * It can be stopped and started again: how far each topology is stands in `.tidemark-tmp/lab-explore.json`, written every few seconds.
 * A seed that ends otherwise stops it with the line that replays it, and exit code 1.
 */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { predicted, TOPOLOGIES, topologyNamed, VERDICT_LETTERS } from '@tidemark/lab';
import { runOnNode } from '@tidemark/lab/host';

const STATE = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../../.tidemark-tmp/lab-explore.json');
const SAVE_MS = 5_000;

const { values, positionals } = parseArgs({ options: { seeds: { type: 'string', default: '100000' } }, allowPositionals: true });
const nrSeeds = Number(values.seeds);
if (!Number.isSafeInteger(nrSeeds) || nrSeeds < 1) throw new Error(`--seeds ${values.seeds}: want a whole number from 1 on`);
const topologies = positionals.length === 0 ? TOPOLOGIES : positionals.map(topologyNamed);

fs.mkdirSync(path.dirname(STATE), { recursive: true });
const state = fs.existsSync(STATE) ? JSON.parse(fs.readFileSync(STATE, 'utf8')) : {};
const save = () => {
  const mine = JSON.parse(fs.existsSync(STATE) ? fs.readFileSync(STATE, 'utf8') : '{}'); // another process may have other topologies
  for (const { name } of topologies) if (state[name] !== undefined) mine[name] = state[name];
  fs.writeFileSync(`${STATE}.${process.pid}`, `${JSON.stringify(mine, null, 2)}\n`);
  fs.renameSync(`${STATE}.${process.pid}`, STATE);
};

for (const topology of topologies) {
  const { name, title } = topology;
  const want = predicted(name, 'composed');
  state[name] ??= { nrSeeds: 0, nrEvents: 0, eventsPeak: 0, seconds: 0 };
  const figures = state[name];
  let beganMs = performance.now();
  for (let seed = figures.nrSeeds + 1; seed <= nrSeeds; seed++) {
    const { verdict, outcome, error } = await runOnNode(topology, 'composed', seed);
    if (VERDICT_LETTERS[verdict] !== want) {
      save();
      console.error(`${name}, seed ${seed}: ${verdict}, not ${want}${error === null ? '' : `: ${error.message}`}`);
      console.error(`replay: npx --no tidemark lab --topology ${name} --policy composed --seed ${seed}`);
      process.exit(1);
    }
    figures.nrSeeds = seed;
    figures.nrEvents += outcome.nrEvents;
    figures.eventsPeak = Math.max(figures.eventsPeak, outcome.nrEvents);
    const nowMs = performance.now();
    if (nowMs - beganMs < SAVE_MS && seed < nrSeeds) continue;
    figures.seconds += (nowMs - beganMs) / 1000;
    beganMs = nowMs;
    save();
  }
  const { nrSeeds: done, nrEvents, eventsPeak, seconds } = figures;
  const rate = Math.round(nrEvents / Math.max(seconds, 0.001));
  console.log(`${name.padEnd(5)} ${want}  ${done} seeds, ${nrEvents} events, at most ${eventsPeak} a run, ${rate} a second  (${title})`);
}
