/**
 * The template, as a stranger would begin: copied to an empty folder, against packed tarballs, `npm test`. Then with `supports` claiming what it
 * cannot do: the suite must say so.
 *
 * Needs a registry, for what is not Tidemark. Prints a line for each check; exit code 0 only if all hold.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { install, pack, root, say } from './packed.mjs';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-template-'));
try {
  const tarballs = pack(['core', 'net', 'testkit'], folder);
  const project = path.join(folder, 'my-fs');
  const isSource = (file) => !['node_modules', 'dist'].includes(path.basename(file));
  fs.cpSync(path.join(root, 'examples/template-fs'), project, { recursive: true, filter: isSource });
  const manifest = JSON.parse(fs.readFileSync(path.join(project, 'package.json'), 'utf8'));
  for (const part of ['dependencies', 'devDependencies'])
    for (const name of Object.keys(manifest[part])) manifest[part][name] = tarballs[name] ?? manifest[part][name];
  install(tarballs, project, manifest);
  const green = npmTest(project);
  assert.equal(green.status, 0, green.stdout);
  const passed = Number(/^# pass (\d+)$/m.exec(green.stdout)?.[1] ?? /ℹ pass (\d+)/.exec(green.stdout)?.[1]);
  assert(passed > 20, `only ${passed} cases ran`);
  say(`template-fs, outside the workspace: ${passed} cases of the suite pass`);
  const test = path.join(project, 'test/conformance.test.mjs');
  fs.writeFileSync(test, fs.readFileSync(test, 'utf8').replace('handles: true', 'handles: true, hardLinks: true'));
  const red = npmTest(project);
  assert.notEqual(red.status, 0, 'a false claim went through');
  assert.match(red.stdout, /template-fs breaks the rule claims-are-what-it-can-do/);
  say('template-fs, claiming hard links: the suite names claims-are-what-it-can-do');
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}

function npmTest(cwd) {
  return spawnSync('npm', ['test'], { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], timeout: 300_000 });
}
